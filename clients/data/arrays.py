"""IDX and NumPy files."""

import struct
import zipfile
import zlib
from collections.abc import Iterable
from math import prod
from typing import IO, Any, Literal

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from clients.data.values import Rows, is_image_shape
from clients.errors import InputError

Part = Literal["train", "test"]
Role = Literal["images", "labels"]
ROLES: tuple[Role, Role] = ("images", "labels")

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 4
_IMAGE_WORDS = ("x", "images", "image", "data", "pixels", "features", "inputs", "input")
_LABEL_WORDS = ("y", "labels", "label", "digits", "digit", "targets", "target", "classes", "class")


def read_idx(file: IO[bytes], source: str, count: int | None = None) -> Rows:
    """Read the first `count` rows of an IDX file of any type; raises InputError if it is damaged."""
    magic = file.read(4)
    dtype = np.dtype(_IDX_TYPES.get(magic[2], "V")) if len(magic) > 3 else None  # noqa: PLR2004 - the magic's four bytes
    if dtype is None or dtype.kind == "V" or not 1 <= magic[3] <= _MAX_DIMENSIONS:
        raise InputError(f"{source}: not an IDX file (starts with {magic.hex(' ')})")
    header = file.read(4 * magic[3])
    if len(header) < 4 * magic[3]:
        raise InputError(f"{source}: ends inside the IDX header")
    shape = struct.unpack(f">{magic[3]}I", header)
    if prod(shape) == 0:
        raise InputError(f"{source}: IDX file of shape {shape} is empty")
    array = _read_rows(file, shape, dtype, source, count)
    if len(array) == shape[0] and file.read(1):
        raise InputError(f"{source}: goes on after the {shape[0]:,} rows in its header")
    return Rows(array.astype(dtype.newbyteorder("="), copy=False), source)


def read_npy(file: IO[bytes], source: str, count: int | None = None) -> Rows:
    """Read the first `count` rows of a .npy file; raises InputError: damaged, or Python objects."""
    try:
        shape, fortran, dtype = _npy_header(file)
    except ValueError as error:
        raise InputError(f"{source}: damaged NumPy file: {error}") from None
    if dtype.hasobject:
        raise InputError(f"{source}: Python objects, which could run code; save it with dtype uint8")
    if prod(shape) == 0:
        raise InputError(f"{source}: an array of shape {shape} is empty")
    if not shape:
        raise InputError(f"{source}: a single number, expected images")
    if fortran:  # Fortran order: rows need the whole array
        return Rows(_read_rows(file, shape[::-1], dtype, source, None).T[:count], source)
    return Rows(_read_rows(file, shape, dtype, source, count), source)


def read_npz(file: IO[bytes], source: str, role: Role, part: Part | None, count: int | None = None) -> Rows:
    """Read the array of an .npz file with the images, or the labels, of a part.

    `part` None takes arrays without a part, or else those of the test part. Raises InputError if
    no array or several could be meant.
    """
    with _archive(file, source) as archive:
        shapes = _shapes(archive, source)
        key = _find(shapes, role, part, source)
        if key is None:
            raise InputError(f"{source}: holds {', '.join(shapes)}; expected {_wanted(role, part)}")
        try:
            with archive.open(f"{key}.npy") as member:
                return read_npy(member, f"{source}[{key}]", count)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise InputError(f"{source}[{key}]: damaged npz: {error}") from None


def find_key(file: IO[bytes], source: str, role: Role, part: Part | None) -> str | None:
    """Find the name of an array in an .npz file by its role and part; None if there is none."""
    with _archive(file, source) as archive:
        return _find(_shapes(archive, source), role, part, source)


def _npy_header(file: IO[bytes]) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    version = npy.read_magic(file)
    return npy.read_array_header_1_0(file) if version == (1, 0) else npy.read_array_header_2_0(file)


def _archive(file: IO[bytes], source: str) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(file)
    except zipfile.BadZipFile as error:
        raise InputError(f"{source}: damaged npz: {error}") from None


def _shapes(archive: zipfile.ZipFile, source: str) -> dict[str, tuple[int, ...]]:
    names = archive.namelist()
    if "[Content_Types].xml" in names:
        raise InputError(f"{source}: an Excel workbook; save the sheet as CSV")
    if not names or not all(name.endswith(".npy") for name in names):
        held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004 - enough to recognize it
        raise InputError(f"{source}: a zip archive of {held or 'nothing'}; unpack it and give a file in it")
    shapes = {}
    for name in names:
        try:
            with archive.open(name) as member:
                shapes[name.removesuffix(".npy")] = _npy_header(member)[0]
        except (ValueError, zipfile.BadZipFile, zlib.error, EOFError) as error:
            raise InputError(f"{source}[{name}]: damaged npz: {error}") from None
    if {"train_images", "val_images"} <= shapes.keys():
        raise InputError(
            f"{source}: a MedMNIST archive (train_images, val_images ...), "
            "whose classes are not digits; to use "
            "it all the same, save the arrays as x_train, y_train, x_test, y_test with numpy.savez"
        )
    return shapes


def _find(shapes: dict[str, tuple[int, ...]], role: Role, part: Part | None, source: str) -> str | None:
    words = _IMAGE_WORDS if role == "images" else _LABEL_WORDS
    parts: Iterable[Part | None] = (part,) if part else (None, "test")
    for wanted in parts:
        found = [key for key in shapes if _is_named(key, words, wanted)]
        fitting = [key for key in found if (role == "images") == is_image_shape(shapes[key])] or found
        if len(fitting) > 1:
            raise InputError(
                f"{source}: {role} may be {' or '.join(fitting)}; save only one of them with numpy.savez"
            )
        if fitting:
            return fitting[0]
    if part:
        return None
    images = [key for key, shape in shapes.items() if is_image_shape(shape)]
    labels = [key for key in shapes if key not in images]
    unnamed = images if role == "images" else labels
    known = any(
        _is_named(key, _IMAGE_WORDS + _LABEL_WORDS, other) for key in shapes for other in ("train", None)
    )
    return unnamed[0] if len(unnamed) == 1 and len(shapes) <= 2 and not (known and len(shapes) > 1) else None  # noqa: PLR2004 - images and labels


def _is_named(key: str, words: tuple[str, ...], part: Part | None) -> bool:
    plain = key.lower().replace("_", "").replace("-", "").replace(" ", "")
    if part is None:
        return plain in words
    return plain in {word + part for word in words} | {part + word for word in words} | (
        {part} if words is _IMAGE_WORDS else set()
    )


def _wanted(role: Role, part: Part | None) -> str:
    letter = "x" if role == "images" else "y"
    return f"{letter}_{part}" if part else f"{letter}, {role} or {letter}_test"


def _read_rows(
    file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], source: str, count: int | None
) -> NDArray[Any]:
    rows = shape[0] if count is None else min(count, shape[0])
    row_bytes = dtype.itemsize * prod(shape[1:])
    data = file.read(rows * row_bytes)
    if len(data) < rows * row_bytes:
        whole = len(data) // row_bytes
        raise InputError(f"{source}: ends after {whole:,} whole rows, its header says {shape[0]:,}")
    return np.frombuffer(data, dtype).reshape(rows, *shape[1:])
