"""IDX files, MNIST's own format, plain or gzip, read in constant memory."""

import gzip
import struct
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from math import prod
from pathlib import Path
from typing import BinaryIO, cast

import numpy as np
from numpy.typing import NDArray

from clients.errors import InputError
from clients.images import PIXELS, SIDE

_UNSIGNED_BYTES = 0x08
_GZIP_MAGIC = b"\x1f\x8b"
_IMAGES_AT_ONCE = 1024


def read_images(path: Path, *, count: int | None = None) -> Iterator[NDArray[np.uint8]]:
    """Yield the first `count` images (all by default), uint8 (k, 784) with k up to 1,024 at a time.

    Raises InputError where the file is not an IDX file of 28x28 images or ends early.
    """
    with _open(path) as (file, shape):
        if shape[1:] != (SIDE, SIDE):
            raise InputError(f"{path}: IDX file of shape {shape}, expected images (n, {SIDE}, {SIDE})")
        total = shape[0]
        wanted = total if count is None else min(count, total)
        for start in range(0, wanted, _IMAGES_AT_ONCE):
            size = min(_IMAGES_AT_ONCE, wanted - start)
            data = file.read(size * PIXELS)
            if len(data) < size * PIXELS:
                whole = start + len(data) // PIXELS
                raise InputError(f"{path}: ends after {whole:,} whole images, its header says {total:,}")
            yield np.frombuffer(data, np.uint8).reshape(size, PIXELS)
        if wanted == total and file.read(1):
            raise InputError(f"{path}: goes on after the {total:,} images that its header says")


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read the true digits, uint8 (n,).

    Raises InputError where the file is not an IDX file of labels or ends early.
    """
    with _open(path) as (file, shape):
        if len(shape) != 1:
            raise InputError(f"{path}: IDX file of shape {shape}, expected labels (n,)")
        data = file.read(shape[0] + 1)
        if len(data) != shape[0]:
            held = f"{len(data):,}" if len(data) < shape[0] else "more"
            raise InputError(f"{path}: holds {held} labels, its header says {shape[0]:,}")
        return np.frombuffer(data, np.uint8)


@contextmanager
def _open(path: Path) -> Iterator[tuple[BinaryIO, tuple[int, ...]]]:
    try:
        with path.open("rb") as raw:
            zipped = raw.read(2) == _GZIP_MAGIC
            raw.seek(0)
            # A GzipFile reads as a BinaryIO does; its type does not say so.
            file = cast("BinaryIO", gzip.GzipFile(fileobj=raw)) if zipped else raw
            yield file, _shape(path, file)
    except OSError as error:
        # gzip.BadGzipFile is an OSError without strerror.
        raise InputError(f"{path}: {error.strerror or error}") from None
    except EOFError:
        raise InputError(f"{path}: the gzip stream is cut off") from None
    except zlib.error as error:
        raise InputError(f"{path}: damaged gzip stream ({error})") from None


def _shape(path: Path, file: BinaryIO) -> tuple[int, ...]:
    # Two zero bytes, the type, the number of dimensions, then each as a big-endian uint32.
    magic = file.read(4)
    if len(magic) < 4 or magic[:2] != b"\0\0" or magic[3] not in {1, 3}:  # noqa: PLR2004 - the format's own numbers
        raise InputError(f"{path}: not an IDX file (starts with {magic.hex(' ') or 'nothing'})")
    if magic[2] != _UNSIGNED_BYTES:
        raise InputError(f"{path}: IDX file of type 0x{magic[2]:02x}, expected unsigned bytes (0x08)")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise InputError(f"{path}: ends inside the IDX header")
    shape = struct.unpack(f">{magic[3]}I", header)
    if prod(shape) == 0:
        raise InputError(f"{path}: IDX file of shape {shape} holds nothing")
    return shape
