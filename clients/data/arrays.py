"""IDX and NumPy files."""

import struct
import zipfile
import zlib
from collections.abc import Callable, Mapping
from math import prod
from typing import IO, Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from clients.data.values import Content, Rows, is_image_shape
from clients.errors import InputError

Part = Literal["train", "test"]
_Role = Literal["images", "labels"]
Archive = Mapping[str, NDArray[Any]]  # the arrays of an .npz file, each read when it is looked up

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
    row_bytes = dtype.itemsize * prod(shape[1:])
    data = file.read(shape[0] * row_bytes)
    if len(data) < shape[0] * row_bytes:
        whole = len(data) // row_bytes
        raise InputError(f"{source}: ends after {whole:,} whole rows, its header says {shape[0]:,}")
    if file.read(1):
        raise InputError(f"{source}: goes on after the {shape[0]:,} rows in its header")
    array = np.frombuffer(data, dtype).reshape(shape)
    return Rows(array.astype(dtype.newbyteorder("="), copy=False), source)


def read_npy(file: IO[bytes], source: str) -> Rows:
    """Read a .npy file; raises InputError: damaged, or Python objects."""
    return _rows(lambda: np.load(file, allow_pickle=False), source)


def read_npz(file: IO[bytes], source: str, part: Part | None) -> Content:
    """Read the arrays of an .npz file with the images and the labels of a part.

    `part` None takes arrays without a part, or else those of the test part. Raises InputError if
    no array or several could be meant.
    """
    archive = _archive(file, source)
    images, labels = (_find(archive, role, part, source) for role in _WORDS)
    if not images and not labels:
        wanted = f"x_{part}" if part else "x, images or x_test"
        raise InputError(f"{source}: holds {', '.join(archive)}; expected {wanted}")
    return Content(
        _member(archive, images, source) if images else None,
        _member(archive, labels, source) if labels else None,
    )


def has_both_parts(file: IO[bytes], source: str) -> bool:
    """Tell whether an .npz file has training and test images."""
    archive = _archive(file, source)
    return all(_find(archive, "images", part, source) for part in get_args(Part))


def _rows(load: Callable[[], NDArray[Any]], source: str) -> Rows:
    try:
        array = load()
    # zipfile raises RuntimeError for an encrypted file.
    except (ValueError, zipfile.BadZipFile, zlib.error, EOFError, RuntimeError) as error:
        if "Object arrays" in str(error):
            raise InputError(
                f"{source}: Python objects, which could run code; save it with dtype uint8"
            ) from None
        raise InputError(f"{source}: not a readable NumPy file: {error}") from None
    if not array.shape:
        raise InputError(f"{source}: a single number, expected images")
    if not array.size:
        raise InputError(f"{source}: an array of shape {array.shape} is empty")
    return Rows(array, source)


def _member(archive: Archive, key: str, source: str) -> Rows:
    return _rows(lambda: archive[key], f"{source}[{key}]")


def _archive(file: IO[bytes], source: str) -> Archive:
    try:
        archive: Archive = np.load(file, allow_pickle=False)
    except (ValueError, zipfile.BadZipFile) as error:
        raise InputError(f"{source}: damaged npz: {error}") from None
    names = archive.zip.namelist()  # type: ignore[attr-defined]  # an NpzFile has it
    if "[Content_Types].xml" in names:
        raise InputError(f"{source}: an Excel workbook; save the sheet as CSV")
    if not names or not all(name.endswith(".npy") for name in names):
        held = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")  # noqa: PLR2004 - enough to recognize it
        raise InputError(f"{source}: a zip archive of {held or 'nothing'}; unpack it and give a file in it")
    if {"train_images", "val_images"} <= archive.keys():
        raise InputError(
            f"{source}: a MedMNIST archive (train_images, val_images ...), whose classes are not digits; "
            "to use it all the same, save the arrays as x_train, y_train, x_test, y_test with numpy.savez"
        )
    return archive


def _find(archive: Archive, role: _Role, part: Part | None, source: str) -> str | None:
    """Find the array with the images or labels of a part by its name, and between several by its shape."""

    def fits(key: str) -> bool:
        return (role == "images") == is_image_shape(_member(archive, key, source).array.shape)

    for wanted in (part,) if part else (None, "test"):
        found = [key for key in archive if _is_named(key, role, wanted)]
        if len(found) > 1:
            found = [key for key in found if fits(key)] or found
        if len(found) > 1:
            raise InputError(
                f"{source}: {role} may be {' or '.join(found)}; save only one of them with numpy.savez"
            )
        if found:
            return found[0]
    # Without known names: one array, or an array of images and another one.
    known = any(_is_named(key, other, of) for key in archive for other in _WORDS for of in ("train", None))
    if part or len(archive) > 2 or (known and len(archive) > 1):  # noqa: PLR2004 - images and labels
        return None
    unnamed = [key for key in archive if fits(key)]
    return unnamed[0] if len(unnamed) == 1 else None


def _is_named(key: str, role: _Role, part: Part | None) -> bool:
    plain = key.lower().translate(str.maketrans("", "", "_- "))
    if part is None:
        return plain in _WORDS[role]
    if plain == part:
        return role == "images"
    return any(plain in {word + part, part + word} for word in _WORDS[role])
