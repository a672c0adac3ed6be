import gzip
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clients import InputError
from clients.idx import read_images, read_labels

Write = Callable[..., Path]


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (count, 28, 28), np.uint8)


def read_all(path: Path, count: int | None = None) -> NDArray[np.uint8]:
    return np.concatenate(list(read_images(path, count=count)))


@pytest.mark.parametrize("zipped", [False, True])
def test_images_come_back_as_written(idx_file: Write, zipped: bool) -> None:
    written = images(2500)
    path = idx_file(written)
    if zipped:
        path.write_bytes(gzip.compress(path.read_bytes()))
    np.testing.assert_array_equal(read_all(path), written.reshape(-1, 784))


def test_count_takes_the_first_images(idx_file: Write) -> None:
    written = images(5)
    np.testing.assert_array_equal(read_all(idx_file(written), 3), written[:3].reshape(-1, 784))


def test_labels_come_back_as_written(idx_file: Write) -> None:
    written = np.arange(10, dtype=np.uint8)
    np.testing.assert_array_equal(read_labels(idx_file(written)), written)


@pytest.mark.parametrize(
    ("damage", "complaint"),
    [
        (lambda data: data[:-1], "ends after 2 whole images, its header says 3"),
        (lambda data: data + b"\0", "goes on after the 3 images"),
        (lambda data: data[:10], "ends inside the IDX header"),
        (lambda _: b"", "not an IDX file .starts with nothing"),
        (lambda _: b"PNG!", "not an IDX file .starts with 50 4e 47 21"),
        (lambda data: b"\0\0\x0d\3" + data[4:], "type 0x0d, expected unsigned bytes"),
        (lambda data: data[:4] + b"\0\0\0\0" + data[8:], "holds nothing"),
        (lambda data: gzip.compress(data)[:-500], "the gzip stream is cut off"),
        (lambda data: gzip.compress(data)[:100] + bytes(500), "damaged gzip stream|gzip stream is cut off"),
    ],
)
def test_damaged_file_is_refused(idx_file: Write, damage: Callable[[bytes], bytes], complaint: str) -> None:
    path = idx_file(images(3))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(InputError, match=complaint):
        read_all(path)


def test_labels_are_no_images_and_images_no_labels(idx_file: Write) -> None:
    with pytest.raises(InputError, match=r"shape \(10,\), expected images"):
        read_all(idx_file(np.arange(10, dtype=np.uint8)))
    with pytest.raises(InputError, match=r"shape \(3, 28, 28\), expected labels"):
        read_labels(idx_file(images(3)))


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="gone: No such file"):
        read_labels(tmp_path / "gone")


def test_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="Is a directory"):
        read_labels(tmp_path)
