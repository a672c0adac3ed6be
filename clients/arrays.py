"""NumPy's .npy and .npz files, read in constant memory."""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from clients.errors import InputError

_AT_ONCE = 1024


def read_npy(path: Path) -> Iterator[NDArray[Any]]:
    """Yield the rows of a .npy file, up to 1,024 at a time; raises InputError."""
    with _understood(path), path.open("rb") as file:
        yield from _rows(file, str(path))


def read_npz(path: Path, keys: tuple[str, ...]) -> Iterator[NDArray[Any]]:
    """Yield the rows of the first of `keys` that a .npz file has, up to 1,024 at a time.

    A file of one array needs no right key. Raises InputError.
    """
    with _understood(path), zipfile.ZipFile(path) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        key = next((key for key in keys if key in names), names[0] if len(names) == 1 else None)
        if key is None:
            raise InputError(
                f"{path}: holds {', '.join(names) or 'nothing'}, expected one of {', '.join(keys)}"
            )
        with archive.open(f"{key}.npy") as file:
            yield from _rows(file, f"{path}[{key}]")


@contextmanager
def _understood(path: Path) -> Iterator[None]:
    try:
        yield
    except InputError:
        raise
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None
    except (ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f"{path}: damaged or not a NumPy file ({error})") from None


def _rows(file: IO[bytes], name: str) -> Iterator[NDArray[Any]]:
    read_header = {1: npy.read_array_header_1_0, 2: npy.read_array_header_2_0}.get(npy.read_magic(file)[0])
    if read_header is None:
        raise InputError(f"{name}: a NumPy file of an unknown version")
    shape, fortran, dtype = read_header(file)
    if fortran or dtype.hasobject or not shape:
        raise InputError(f"{name}: expected rows of numbers in C order, not {dtype} of shape {shape}")
    row_bytes = dtype.itemsize * int(np.prod(shape[1:]))
    for start in range(0, shape[0], _AT_ONCE):
        rows = min(_AT_ONCE, shape[0] - start)
        data = file.read(rows * row_bytes)
        if len(data) < rows * row_bytes:
            raise InputError(f"{name}: ends early, its header says {shape[0]:,} rows")
        yield np.frombuffer(data, dtype).reshape(rows, *shape[1:])
