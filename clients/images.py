"""Anything that a person calls an image -> uint8 (n, 784), 0 is background and 255 is full ink."""

import io
from collections.abc import Iterable
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from clients.errors import InputError
from clients.photo import normalise

SIDE = 28
PIXELS = SIDE * SIDE

ImageLike: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"
"""A path, the bytes of a picture file, a PIL image, or an array of one or more 28x28 images."""

Images: TypeAlias = "ImageLike | Iterable[ImageLike]"


def pixels(images: Images) -> NDArray[np.uint8]:
    """Turn `images` into uint8 (n, 784), in order.

    Arrays may be (28, 28), (784,), (n, 784), (n, 28, 28) or either with a channel of 1; integers
    are 0-255, floats 0-1 (or 0-255 where one exceeds 1), booleans ink or not. Raises InputError.
    """
    if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
        return _pixels(images, "")
    parts = [_pixels(image, f"image {index}") for index, image in enumerate(images)]
    if not parts:
        raise InputError("no images given, expected at least one")
    return np.concatenate(parts)


def _pixels(image: ImageLike, name: str) -> NDArray[np.uint8]:
    match image:
        case np.ndarray():
            return from_array(image, name or "array")
        case Image.Image():
            return from_picture(image, name or "picture")
        case bytes():
            return from_bytes(image, name or "bytes")
        case str() | Path():
            return from_file(Path(image))
        case _:
            raise InputError(
                f"{name} is a {type(image).__name__}, expected a path, bytes, a PIL image or an array"
            )


def from_file(path: Path) -> NDArray[np.uint8]:
    """Read one picture file; uint8 (1, 784)."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return from_bytes(data, str(path))


def from_bytes(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode the bytes of a picture file; uint8 (1, 784)."""
    try:
        with Image.open(io.BytesIO(data)) as picture:
            return from_picture(picture, name)
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture ({_looks_like(data)}), expected PNG, JPEG, ...") from None
    except (OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise InputError(f"{name}: damaged picture ({error})") from None


def from_picture(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Read a PIL image; 28x28 is taken as it is, anything else made like MNIST; uint8 (1, 784)."""
    grey = np.asarray(picture.convert("L"))
    if grey.shape != (SIDE, SIDE):
        grey = normalise(grey, name)
    return grey.reshape(1, PIXELS)


def from_array(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Read an array of one or more 28x28 images; uint8 (n, 784)."""
    shape = array.shape
    if shape[-1:] == (1,) and shape[-3:-1] == (SIDE, SIDE):
        shape = shape[:-1]
    fits = shape in {(PIXELS,), (SIDE, SIDE)} or shape[1:] in {(PIXELS,), (SIDE, SIDE)}
    if not fits or array.size == 0:
        raise InputError(
            f"{name} has shape {array.shape}, expected ({PIXELS},), ({SIDE}, {SIDE}), (n, {PIXELS}) "
            f"or (n, {SIDE}, {SIDE}) with n of 1 or more"
        )
    return _bytes_of(array, name).reshape(-1, PIXELS)


def _bytes_of(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return np.where(array, np.uint8(255), np.uint8(0))
    if array.dtype.kind not in "iuf":
        raise InputError(f"{name} has dtype {array.dtype}, expected integers, floats or booleans")
    low, high = array.min(), array.max()
    if not (low >= 0 and high <= 255):  # noqa: PLR2004 - the largest uint8; written so that NaN fails
        raise InputError(f"{name} has values from {low} to {high}, expected 0 to 255")
    if array.dtype.kind == "f" and high <= 1:
        array = array * 255
    return np.asarray(np.rint(array), np.uint8)


def _looks_like(data: bytes) -> str:
    if not data:
        return "it is empty"
    head = data[:64]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return f"starts with {head[:4].hex(' ')}"
    return f"text that starts with {text.split(chr(10))[0][:20]!r}"
