"""Sources of `--data`, and the split; formats are tested with clients/data."""

import functools
import hashlib
import http.server
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from msgspec.structs import replace

from trainer.cli import main
from trainer.data.dataset import (
    URL_VARIABLE,
    Dataset,
    load_data,
    load_mnist,
    load_test_images,
    split_validation,
)
from trainer.errors import TrainerError
from trainer.recipe import load_recipe
from trainer.train import load_split


@pytest.fixture(scope="module")
def small() -> Dataset:
    """30 + 20 images of random pixels, every digit among them; 0 and 255 occur."""
    rng = np.random.default_rng(7)
    x_train, x_test = (rng.integers(0, 256, (n, 784), np.uint8) for n in (30, 20))
    x_train[0, :2] = 0, 255
    return Dataset("small", x_train, np.arange(30) % 10, x_test, np.arange(20) % 10)


def write_npz(path: Path, data: Dataset) -> Path:
    parts = {part: getattr(data, part) for part in ("x_train", "y_train", "x_test", "y_test")}
    np.savez(path, allow_pickle=False, **parts)
    return path


def write_tables(folder: Path, data: Dataset) -> list[str]:
    """The tutorial's four files."""
    for part in ("x_train", "y_train", "x_test", "y_test"):
        name = part.replace("x", "X")
        np.savetxt(folder / f"{name}.tsv", getattr(data, part), "%d", "\t")
    return [str(folder / f"{name}.tsv") for name in ("X_train", "y_train", "X_test", "y_test")]


def rows(images: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in images}


def test_same_images_have_the_same_digest_in_any_form(small: Dataset, tmp_path: Path) -> None:
    files = write_tables(tmp_path, small)
    archive = write_npz(tmp_path / "mnist-like.npz", small)
    for source in (str(archive), ",".join(files)):
        assert load_data(source).sha256 == small.sha256
    assert load_data(str(archive)).name == "mnist-like"
    archive.unlink()
    assert load_data(str(tmp_path)).sha256 == small.sha256


def test_one_labelled_file_is_data_to_train_on_and_to_evaluate(small: Dataset, tmp_path: Path) -> None:
    path = tmp_path / "digits.csv"
    labelled = np.column_stack([small.y_train, small.x_train])
    header = ",".join(["label", *(f"pixel{i}" for i in range(784))])
    np.savetxt(path, labelled, "%d", ",", header=header, comments="")
    data = load_data(str(path))
    assert (len(data.y_train), np.bincount(data.y_test).tolist()) == (20, [1] * 10)
    assert not rows(data.x_train) & rows(data.x_test)
    name, images, digits = load_test_images(str(path))
    assert name == "digits.csv"
    np.testing.assert_array_equal(images, small.x_train)
    np.testing.assert_array_equal(digits, small.y_train)


def test_test_images_need_no_training_part(small: Dataset, tmp_path: Path) -> None:
    x_train, y_train, x_test, y_test = write_tables(tmp_path, small)
    for path in (x_train, y_train):
        Path(path).unlink()
    for source in (f"{x_test},{y_test}", str(tmp_path)):
        _, images, digits = load_test_images(source)
        np.testing.assert_array_equal(images, small.x_test)
        np.testing.assert_array_equal(digits, small.y_test)


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere", "--data nowhere: no such file or folder, expected sample, mnist, a folder"),
        ("{tmp}", "no data set in this folder, expected one of: four IDX files"),
        ("{tmp}/a,{tmp}/a,{tmp}/a", "3 files, expected sample, mnist"),
        ("{tmp}/a", "a: "),
    ],
)
def test_source_that_is_no_data_set_is_named(source: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\x01\x02\x03\x04")
    with pytest.raises(TrainerError) as refused:
        load_data(source.format(tmp=tmp_path))
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


@pytest.mark.mnist
def test_mnist_is_recognized_wherever_it_lies(mnist_dir: Path) -> None:
    dataset = load_data(str(mnist_dir))
    assert (dataset.name, len(dataset.y_train), len(dataset.y_test)) == ("mnist", 60_000, 10_000)


def test_sample_is_balanced_and_its_test_part_is_apart() -> None:
    data = load_data("sample")
    assert np.bincount(data.y_train).tolist() == [400] * 10
    assert np.bincount(data.y_test).tolist() == [100] * 10
    assert not rows(data.x_train) & rows(data.x_test)


def test_validation_comes_from_the_training_part_alone_and_is_always_the_same() -> None:
    data = load_data("sample")
    split, again = split_validation(data, 0.1), split_validation(data, 0.1)
    assert np.bincount(split.y_validation).tolist() == [40] * 10
    assert rows(split.x_validation) <= rows(data.x_train)
    assert not rows(split.x_validation) & rows(split.x_train)
    np.testing.assert_array_equal(split.x_validation, again.x_validation)


def test_validation_share_that_leaves_no_image_is_an_error_at_the_start(small: Dataset) -> None:
    recipe = load_recipe("digits")
    with pytest.raises(
        TrainerError, match=r"fit\.validation_fraction: 0\.05 of 30 images leaves no validation image"
    ):
        load_split(recipe, small)
    assert (
        len(load_split(replace(recipe, fit=replace(recipe.fit, validation_fraction=0.4)), small).y_validation)
        == 10
    )


def test_test_digest_is_of_the_test_part_alone(small: Dataset) -> None:
    other = Dataset("other", small.x_train[:10], small.y_train[:10], small.x_test, small.y_test)
    assert other.test_sha256 == small.test_sha256
    assert other.sha256 != small.sha256


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def web(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A server of files on loopback; the real source is never asked."""
    folder = tmp_path / "web"
    folder.mkdir()
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", folder
    server.shutdown()
    thread.join()
    server.server_close()


def test_mnist_is_downloaded_once_and_verified(
    web: tuple[str, Path], small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url, folder = web
    archive = write_npz(folder / "mnist.npz", small)
    checksum = hashlib.sha256(archive.read_bytes()).hexdigest()
    monkeypatch.setenv(URL_VARIABLE, f"{url}/mnist.npz")
    with pytest.raises(TrainerError, match=r"--data mnist: .*--data sample needs no network"):
        load_mnist("0" * 64, tmp_path / "cache")
    assert load_mnist(checksum, tmp_path / "cache").sha256 == small.sha256
    archive.unlink()
    assert load_mnist(checksum, tmp_path / "cache").sha256 == small.sha256
    with pytest.raises(TrainerError, match="404"):
        load_mnist(checksum, tmp_path / "another")


def test_data_command_counts_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "sample", "--picture", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "4,000" in said
    assert "100   10.0%" in said
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")
