import base64
import hashlib
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import TrainerError
from trainer.manifest import DataFacts, Manifest, choose_golden
from trainer.publish import publish


def manifest() -> Manifest:
    images = np.arange(100 * 784, dtype=np.uint32).reshape(100, 784).astype(np.uint8)
    digits = np.arange(100) % 10
    return Manifest(
        recipe="digits",
        seed=1,
        parameters=30_634,
        data=DataFacts("sample", "0" * 64, 3600, 400, 1000),
        libraries={"python": "3"},
        source_commit=None,
        test_accuracy=0.99,
        golden=choose_golden(images, digits, np.eye(10, dtype=np.float32)[digits]),
    )


@pytest.fixture
def run(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    (folder / "report").mkdir(parents=True)
    (folder / "model.onnx").write_bytes(b"graph")
    (folder / "report" / "metrics.json").write_text("{}")
    return folder


def publish_run(run: Path, repository: Path) -> Path:
    return publish(manifest(), run / "model.onnx", run / "report", repository, "digits")


def publish_five(run: Path, repository: Path) -> None:
    for _ in range(5):
        publish_run(run, repository)


def test_manifest_holds_what_the_contract_says(run: Path, tmp_path: Path) -> None:
    folder = publish_run(run, tmp_path / "repository")
    table = json.loads((folder / "manifest.json").read_text())
    assert list(table) == [
        "schema",
        "model",
        "version",
        "created",
        "recipe",
        "seed",
        "parameters",
        "data",
        "libraries",
        "source_commit",
        "inputs",
        "outputs",
        "metrics",
        "files",
        "golden",
    ]
    assert (table["model"], table["version"]) == ("digits", 1)
    assert set(table["files"]) == {"model.onnx", "report/metrics.json"}
    assert table["files"]["model.onnx"] == {"sha256": hashlib.sha256(b"graph").hexdigest(), "bytes": 5}


def test_golden_set_is_four_of_each_digit(run: Path, tmp_path: Path) -> None:
    golden = json.loads((publish_run(run, tmp_path) / "manifest.json").read_text())["golden"]
    assert len(base64.b64decode(golden["images"])) == 40 * 784
    assert sorted(golden["digits"]) == sorted(list(range(10)) * 4)
    assert [np.argmax(row) for row in golden["probabilities"]] == golden["digits"]


def test_versions_count_up(run: Path, tmp_path: Path) -> None:
    assert [publish_run(run, tmp_path / "r").name for _ in range(3)] == ["1", "2", "3"]


def test_removed_version_is_not_given_again(run: Path, tmp_path: Path) -> None:
    shutil.rmtree([publish_run(run, tmp_path / "r") for _ in range(2)][-1])
    assert publish_run(run, tmp_path / "r").name == "3"


def test_version_put_there_by_hand_is_counted(run: Path, tmp_path: Path) -> None:
    (tmp_path / "r" / "digits" / "41").mkdir(parents=True)
    assert publish_run(run, tmp_path / "r").name == "42"


def test_publishers_at_once_never_collide(run: Path, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    publishers = [spawn.Process(target=publish_five, args=(run, tmp_path / "r")) for _ in range(3)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
        assert publisher.exitcode == 0
    versions = [entry for entry in (tmp_path / "r" / "digits").iterdir() if entry.is_dir()]
    assert sorted(int(version.name) for version in versions) == list(range(1, 16))
    for version in versions:
        assert json.loads((version / "manifest.json").read_text())["version"] == int(version.name)


def test_failed_publish_leaves_no_version(run: Path, tmp_path: Path) -> None:
    (run / "model.onnx").unlink()
    with pytest.raises(TrainerError, match=r"model\.onnx: cannot publish: No such file"):
        publish_run(run, tmp_path / "r")
    assert [entry.name for entry in (tmp_path / "r" / "digits").iterdir() if entry.is_dir()] == []


def test_repository_that_is_a_file_is_named(run: Path, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    with pytest.raises(TrainerError, match="cannot publish: Not a directory"):
        publish_run(run, tmp_path / "r")


def test_what_a_killed_publisher_left_is_removed(run: Path, tmp_path: Path) -> None:
    left = tmp_path / "r" / "digits" / ".publishing-abc"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    publish_run(run, tmp_path / "r")
    assert not left.exists()
