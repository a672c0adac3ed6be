"""IDX and NumPy files."""

import struct
import zipfile
import zlib
from math import prod
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from clients.data.values import Content, Rows, is_image_shape
from clients.errors import InputError

Part = Literal["train", "test"]
_Role = Literal["images", "labels"]

_IDX_TYPES = {0x08: "u1", 0x09: "i1", 0x0B: ">i2", 0x0C: ">i4", 0x0D: ">f4", 0x0E: ">f8"}
_MAX_DIMENSIONS = 4
_WORDS: dict[_Role, set[str]] = {
    "images": {"x", "images", "image", "data", "pixels", "features", "inputs", "input"},
    "labels": {"y", "labels", "label", "digits", "digit", "targets", "target", "classes", "class"},
}


def read_idx(file: IO[bytes], source: str) -> Rows:
    """Read an IDX file of any type; raises InputError if it is damaged."""
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
    array = _read_rows(file, shape, dtype, source)
    if file.read(1):
        raise InputError(f"{source}: goes on after the {shape[0]:,} rows in its header")
    return Rows(array.astype(dtype.newbyteorder("="), copy=False), source)


def read_npy(file: IO[bytes], source: str) -> Rows:
    """Read a .npy file; raises InputError: damaged, or Python objects."""
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
    if fortran:
        return Rows(_read_rows(file, shape[::-1], dtype, source).T, source)
    return Rows(_read_rows(file, shape, dtype, source), source)


def read_npz(file: IO[bytes], source: str, part: Part | None) -> Content:
    """Read the arrays of an .npz file with the images and the labels of a part.

    `part` None takes arrays without a part, or else those of the test part. Raises InputError if
    no array or several could be meant.
    """
    with _archive(file, source) as archive:
        shapes = _shapes(archive, source)
        images, labels = (_find(shapes, role, part, source) for role in _WORDS)
        if not images and not labels:
            wanted = f"x_{part}" if part else "x, images or x_test"
            raise InputError(f"{source}: holds {', '.join(shapes)}; expected {wanted}")
        return Content(_member(archive, images, source), _member(archive, labels, source))


def has_both_parts(file: IO[bytes], source: str) -> bool:
    """Tell whether an .npz file has training and test images."""
    with _archive(file, source) as archive:
        shapes = _shapes(archive, source)
        return all(_find(shapes, "images", part, source) for part in get_args(Part))


def _member(archive: zipfile.ZipFile, key: str | None, source: str) -> Rows | None:
    if key is None:
        return None
    try:
        with archive.open(f"{key}.npy") as member:
            return read_npy(member, f"{source}[{key}]")
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
        raise InputError(f"{source}[{key}]: damaged npz: {error}") from None


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
            f"{source}: a MedMNIST archive (train_images, val_images ...), whose classes are not digits; "
            "to use it all the same, save the arrays as x_train, y_train, x_test, y_test with numpy.savez"
        )
    return shapes


def _find(shapes: dict[str, tuple[int, ...]], role: _Role, part: Part | None, source: str) -> str | None:
    """Find the array with the images or labels of a part by its name, and between several by its shape."""
    for wanted in (part,) if part else (None, "test"):
        found = [key for key in shapes if _is_named(key, role, wanted)]
        fitting = [key for key in found if (role == "images") == is_image_shape(shapes[key])] or found
        if len(fitting) > 1:
            raise InputError(
                f"{source}: {role} may be {' or '.join(fitting)}; save only one of them with numpy.savez"
            )
        if fitting:
            return fitting[0]
    # Without known names: one array, or an array of images and another one.
    known = any(_is_named(key, other, of) for key in shapes for other in _WORDS for of in ("train", None))
    if part or len(shapes) > 2 or (known and len(shapes) > 1):  # noqa: PLR2004 - images and labels
        return None
    unnamed = [key for key in shapes if (role == "images") == is_image_shape(shapes[key])]
    return unnamed[0] if len(unnamed) == 1 else None


def _is_named(key: str, role: _Role, part: Part | None) -> bool:
    plain = key.lower().translate(str.maketrans("", "", "_- "))
    if part is None:
        return plain in _WORDS[role]
    if plain == part:
        return role == "images"
    return any(plain in {word + part, part + word} for word in _WORDS[role])


def _read_rows(file: IO[bytes], shape: tuple[int, ...], dtype: np.dtype[Any], source: str) -> NDArray[Any]:
    row_bytes = dtype.itemsize * prod(shape[1:])
    data = file.read(shape[0] * row_bytes)
    if len(data) < shape[0] * row_bytes:
        whole = len(data) // row_bytes
        raise InputError(f"{source}: ends after {whole:,} whole rows, its header says {shape[0]:,}")
    return np.frombuffer(data, dtype).reshape(shape)
