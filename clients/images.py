"""Conversion of images of any kind to uint8 (n, 784), 0 background and 255 full ink."""

import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clients.data.values import PIXELS, SIDE, Rows, images_from
from clients.errors import InputError
from clients.pictures.decode import grey, load_file, read_bytes
from clients.pictures.normalize import FoundDigit
from clients.pictures.segmentation import find_main, find_row

SURE = 0.8
"""Confidence below this is shown as doubt."""

# Of MNIST's digits, `accurate` answers one in 3,000 with less; of letters, seven in ten.
_LIKELY = 0.4

# Share of ink among the pixels of an image: MNIST's test images have 3 to 36 %.
_LEAST_INK, _MOST_INK = 0.02, 0.40
_DRAWN = 64  # of 255

ImageLike: TypeAlias = "str | Path | bytes | Image.Image | NDArray[Any]"
"""A path, the bytes of a picture file, a PIL image, or an array of one or more 28x28 images."""

Images: TypeAlias = "ImageLike | Iterable[ImageLike]"


def pixels(images: Images, *, raw: bool = False) -> NDArray[np.uint8]:
    """Convert `images` to uint8 (n, 784), in order.

    Pictures (files, bytes, PIL images, colour arrays of any size) contain one digit each, which is segmented
    and normalized as in MNIST; with `raw` the whole picture is scaled to 28x28 instead. Other arrays, of
    shape (28, 28), (784,), (n, 784) or (n, 28, 28), or these with a channel of 1, are not normalized:
    integers 0-255, floats 0-1 (or 0-255 if one exceeds 1), booleans. Integers that are all 0 and 1 are scaled
    to 0-255 with a warning. Raises InputError.
    """
    if isinstance(images, str | Path | bytes | Image.Image | np.ndarray):
        return _pixels(images, "", raw=raw)
    if not isinstance(images, Iterable):
        raise InputError(
            f"images is a {type(images).__name__}, expected a path, bytes, "
            "a PIL image, an array or a list of these"
        )
    parts = [_pixels(image, f"image {index}", raw=raw) for index, image in enumerate(images)]
    if not parts:
        raise InputError("no images given, expected at least one")
    return np.concatenate(parts)


def find_digits(picture: ImageLike) -> list[FoundDigit]:
    """Find all digits in a picture, rows from top to bottom and each from left to right.

    Raises InputError if the picture is blank.
    """
    return find_row(*_grey(picture, ""))


def explain(picture: ImageLike) -> FoundDigit:
    """Find the digit in a picture, as `pixels` does, and describe its preparation."""
    return find_main(*_grey(picture, ""))[0]


def doubt(image: NDArray[np.uint8], probabilities: Sequence[float]) -> str:
    """Return the doubt about the answer for an image, uint8 (784,); empty if there is none.

    An image with almost no ink, or ink almost everywhere, is not a digit, whatever the confidence. Below a
    confidence of 80 %, the two most probable digits are named; below 40 %, it is probably none of them.
    """
    ink = float((image > _DRAWN).mean())
    if not _LEAST_INK <= ink <= _MOST_INK:
        return "not a digit"
    one, two = sorted(range(len(probabilities)), key=probabilities.__getitem__, reverse=True)[:2]
    if probabilities[one] >= SURE:
        return ""
    words = "not sure" if probabilities[one] >= _LIKELY else "probably not a digit"
    return f"{words}: {one} ({100 * probabilities[one]:.0f} %) or {two} ({100 * probabilities[two]:.0f} %)"


def _pixels(image: ImageLike, name: str, *, raw: bool) -> NDArray[np.uint8]:
    if isinstance(image, np.ndarray) and image.shape[2:] not in {(3,), (4,)}:
        return from_array(image, name or "array")
    shades, name = _grey(image, name)
    if raw:
        small = Image.fromarray(shades).resize((SIDE, SIDE), Image.Resampling.BOX)
        return np.asarray(small).reshape(1, PIXELS)
    return find_main(shades, name)[0].image.reshape(1, PIXELS)


def _grey(image: ImageLike, name: str) -> tuple[NDArray[np.uint8], str]:
    """Decode to shades of grey; also return the picture's name for messages."""
    match image:
        case np.ndarray() if image.ndim in {2, 3} and image.dtype == np.uint8:
            return grey(Image.fromarray(image), name or "array"), name or "array"
        case np.ndarray():
            raise InputError(
                f"{name or 'array'} has dtype {image.dtype}, expected uint8 for a colour picture"
            )
        case Image.Image():
            return grey(image, name or "picture"), name or "picture"
        case bytes():
            return read_bytes(image, name or "bytes"), name or "bytes"
        case str() | Path():
            return read_bytes(load_file(Path(image)), str(image)), str(image)
        case _:
            raise InputError(
                f"{name} is a {type(image).__name__}, expected a path, bytes, a PIL image or an array"
            )


def from_array(array: NDArray[Any], name: str) -> NDArray[np.uint8]:
    """Convert an array of one or more 28x28 images to uint8 (n, 784)."""
    shape = array.shape
    if shape[-1:] == (1,) and shape[-3:-1] == (SIDE, SIDE):
        shape = shape[:-1]
    fits = shape in {(PIXELS,), (SIDE, SIDE)} or shape[1:] in {(PIXELS,), (SIDE, SIDE)}
    if not fits or array.size == 0:
        raise InputError(
            f"{name} has shape {array.shape}, expected ({PIXELS},), ({SIDE}, {SIDE}), (n, {PIXELS}) "
            f"or (n, {SIDE}, {SIDE}) with n of 1 or more"
        )
    images, notes = images_from(Rows(array.reshape(-1, PIXELS), name))
    if notes and array.dtype.kind in "iu":  # floats 0-1 need no warning
        warnings.warn(notes[0], stacklevel=4)
    return images
