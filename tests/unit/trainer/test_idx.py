import gzip
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from trainer.data.idx import load_idx_folder, read_idx
from trainer.errors import TrainerError


def idx(array: np.ndarray) -> bytes:
    header = struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape)
    return header + array.astype(np.uint8).tobytes()


def write_folder(folder: Path, pack: Callable[[bytes], bytes] = bytes, suffix: str = "") -> None:
    for part, count in (("train", 30), ("t10k", 10)):
        pixels = np.arange(count * 784).reshape(count, 28, 28) % 251
        images, digits = idx(pixels), idx(np.arange(count) % 10)
        (folder / f"{part}-images-idx3-ubyte{suffix}").write_bytes(pack(images))
        (folder / f"{part}-labels-idx1-ubyte{suffix}").write_bytes(pack(digits))


@pytest.mark.parametrize(("pack", "suffix"), [(bytes, ""), (gzip.compress, ".gz")])
def test_folder_loads_plain_and_gzip(tmp_path: Path, pack: Callable[[bytes], bytes], suffix: str) -> None:
    write_folder(tmp_path, pack, suffix)
    data = load_idx_folder(tmp_path)
    assert data.x_train.shape == (30, 784)
    assert data.y_test.tolist() == list(range(10))
    assert data.x_test[1, 0] == 784 % 251


def test_same_content_has_the_same_digest_in_any_packing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    write_folder(tmp_path / "a")
    write_folder(tmp_path / "b", gzip.compress, ".gz")
    assert load_idx_folder(tmp_path / "a").sha256 == load_idx_folder(tmp_path / "b").sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "begins with bytes none, expected an IDX file"),
        (b"hello, world", "begins with bytes 68 65 6c 6c, expected an IDX file"),
        (b"\0\0\x0d\x01\0\0\0\x01\0\0\0\0", "begins with bytes 00 00 0d 01, expected an IDX file"),
        (b"\0\0\x08\x03\0\0", "6 bytes, expected an IDX header of 16"),
        (idx(np.zeros(5))[:-1], "4 bytes of data, expected 5 for 5"),
        (idx(np.zeros(5)) + b"\0", "6 bytes of data, expected 5 for 5"),
        (gzip.compress(idx(np.zeros(500)))[:-9], "damaged gzip"),
    ],
)
def test_damaged_file_is_named_with_what_was_expected(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(TrainerError) as refused:
        read_idx(path)
    assert str(refused.value).startswith(f"{path}: {message}")


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match="no train-images-idx3-ubyte or"):
        load_idx_folder(tmp_path)


@pytest.mark.parametrize(
    ("name", "array", "message"),
    [
        ("train-labels-idx1-ubyte", np.full(30, 10), "row 1 is 10, expected a digit 0-9"),
        ("train-labels-idx1-ubyte", np.zeros(29), "expected one digit for each of 30 images"),
        ("train-images-idx3-ubyte", np.zeros((30, 28, 27)), "expected images of 28x28"),
    ],
)
def test_data_that_does_not_fit_is_refused(
    tmp_path: Path, name: str, array: np.ndarray, message: str
) -> None:
    write_folder(tmp_path)
    (tmp_path / name).write_bytes(idx(array))
    with pytest.raises(TrainerError, match=message):
        load_idx_folder(tmp_path)
