from pathlib import Path

import numpy as np
import pytest

from tests.unit.clients.conftest import Digits, Run
from tests.unit.clients.data.files import idx, npy


@pytest.fixture
def data(tmp_path: Path, digit_images: Digits) -> Path:
    """Four images out of a hundred are labelled otherwise than the fake server answers."""
    labels = np.arange(100) % 10
    labels[[10, 20, 30, 41]] = [7, 7, 7, 8]
    path = tmp_path / "mnist.npz"
    np.savez(path, x_test=digit_images(100).reshape(-1, 28, 28), y_test=labels)
    return path


def test_accuracy_and_confusion_are_counted(run: Run, data: Path) -> None:
    (record,) = run("evaluate", data, "-o", "json").records
    assert (record["images"], record["correct"], record["accuracy"]) == (100, 96, 0.96)
    assert record["confusion"][7][0] == 3
    assert record["confusion"][8][1] == 1
    assert record["interval"] == pytest.approx((0.9016, 0.9843), abs=1e-4)  # Wilson's, computed by hand
    assert record["model"] == "digits/3"


def test_report_is_for_a_person(run: Run, data: Path) -> None:
    code, out, _ = run("evaluate", data.parent)
    assert code == 0
    assert "accuracy    96.00%  (96 of 100; 95 % interval 90.16% to 98.43%)" in out
    assert "76.9%" in out  # recall of the thirteen sevens


@pytest.mark.parametrize(("gate", "code"), [("0.96", 0), ("0.97", 3)])
def test_gate_is_an_exit_code(run: Run, data: Path, gate: str, code: int) -> None:
    assert run("evaluate", data, "--min-accuracy", gate).code == code


def test_count_asks_about_the_first_images(run: Run, data: Path) -> None:
    assert run("evaluate", data, "--count", 10, "-o", "json").records[0]["images"] == 10


def test_folder_without_labelled_images_is_named(run: Run, tmp_path: Path) -> None:
    ended = run("evaluate", tmp_path)
    assert ended.code == 1
    assert f"{tmp_path}: no data set in this folder" in ended.err


@pytest.mark.parametrize(
    "names", [("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"), ("X_test.npy", "y_test.npy")]
)
def test_folder_with_test_files_alone_is_evaluated(
    run: Run, tmp_path: Path, digit_images: Digits, names: tuple[str, str]
) -> None:
    for name, array in zip(names, (digit_images(20).reshape(-1, 28, 28), np.arange(20) % 10), strict=True):
        (tmp_path / name).write_bytes(npy(array) if name.endswith("npy") else idx(array))
    assert run("evaluate", tmp_path, "-o", "json").records[0]["correct"] == 20
