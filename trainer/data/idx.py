"""IDX, the format MNIST was published in: a big-endian header, then bytes. Plain or gzip."""

import gzip
import struct
import zlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError

_UNSIGNED_BYTES = b"\0\0\x08"
_GZIP_MAGIC = b"\x1f\x8b"
_SIDE = 28
_DIGITS = 10


def read_idx(path: Path) -> NDArray[np.uint8]:
    """Return the array in an IDX file of unsigned bytes. Raises TrainerError if it is damaged."""
    try:
        content = path.read_bytes()
        if content.startswith(_GZIP_MAGIC):
            content = gzip.decompress(content)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TrainerError(f"{path}: damaged gzip: {error}") from error
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}") from error
    if not content.startswith(_UNSIGNED_BYTES):
        raise TrainerError(
            f"{path}: begins with bytes {content[:4].hex(' ') or 'none'}, "
            "expected an IDX file of unsigned bytes (00 00 08 ..)"
        )
    rank = content[3] if len(content) > len(_UNSIGNED_BYTES) else 0
    start = 4 + 4 * rank
    if rank == 0 or len(content) < start:
        raise TrainerError(f"{path}: {len(content)} bytes, expected an IDX header of {start}")
    shape = struct.unpack(f">{rank}I", content[4:start])
    expected = int(np.prod(shape, dtype=np.int64))
    if len(content) - start != expected:
        raise TrainerError(
            f"{path}: {len(content) - start} bytes of data, expected {expected} for {'x'.join(map(str, shape))}"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(shape)


def load_idx_folder(folder: Path) -> Dataset:
    """Return the four IDX files of a folder, under MNIST's names with or without `.gz`."""
    x_train, y_train = _part(folder, "train")
    x_test, y_test = _part(folder, "t10k")
    return Dataset(folder.resolve().name, x_train, y_train, x_test, y_test)


def _part(folder: Path, part: str) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    images_path, digits_path = (
        _find(folder, f"{part}-images-idx3-ubyte"),
        _find(folder, f"{part}-labels-idx1-ubyte"),
    )
    images, digits = read_idx(images_path), read_idx(digits_path)
    if images.shape[1:] != (_SIDE, _SIDE):
        raise TrainerError(f"{images_path}: shape {images.shape}, expected images of 28x28")
    if digits.ndim != 1 or len(digits) != len(images):
        raise TrainerError(
            f"{digits_path}: shape {digits.shape}, expected one digit for each of {len(images)} images"
        )
    if len(digits) == 0:
        raise TrainerError(f"{images_path}: no images")
    wrong = np.flatnonzero(digits >= _DIGITS)
    if wrong.size:
        raise TrainerError(f"{digits_path}: row {wrong[0] + 1} is {digits[wrong[0]]}, expected a digit 0-9")
    return images.reshape(-1, _SIDE * _SIDE), digits.astype(np.int64)


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / name, folder / f"{name}.gz"):
        if candidate.is_file():
            return candidate
    raise TrainerError(f"{folder}: no {name} or {name}.gz in this folder")
