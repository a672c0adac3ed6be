"""Conversion of the numbers in a file to images and digits."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.errors import InputError

SIDE = 28
PIXELS = SIDE * SIDE
DIGITS = 10
_WHITE = 255
_IMAGE_SHAPES = ((PIXELS,), (SIDE, SIDE), (SIDE, SIDE, 1), (1, SIDE, SIDE))
_QMNIST_COLUMNS = 8
_ORIENTATION_IMAGES = 50
# Mean of (variance along rows - along columns) / their sum: 0.36 for MNIST (standard deviation over images
# 0.27), -0.36 transposed; the mean of each digit is above 0.1.
_TRANSPOSED = -0.15


@dataclass(frozen=True, eq=False)
class Rows:
    """An array (n, ...) from a file; `row_number(i)` is the row of `array[i]` in the file."""

    array: NDArray[Any]
    source: str
    row_number: Callable[[int], int] = lambda index: index + 1

    def name(self, index: int) -> str:
        """Return the name of a row for messages."""
        return f"{self.source}: row {self.row_number(index)}"


@dataclass(frozen=True, eq=False)
class Content:
    """Pixels, labels or both of a file; `starts_with_zero` says that the first label may be a header `0`."""

    pixels: Rows | None
    labels: Rows | None
    starts_with_zero: bool = False


def is_image_shape(shape: tuple[int, ...]) -> bool:
    """Tell whether an array of this shape is one or more 28x28 images."""
    return shape[1:] in _IMAGE_SHAPES or shape in {(SIDE, SIDE), (PIXELS,)}


def is_number(cell: str) -> bool:
    """Tell whether the text of a cell is a number."""
    try:
        float(cell)
    except ValueError:
        return False
    return True


def images_from(rows: Rows) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Convert rows to uint8 (n, 784), and return notes about changes.

    Integers 0-255 are unchanged, fractions 0-255 are rounded, numbers 0-1 are multiplied by 255. Raises
    InputError for other shapes and values.
    """
    array = rows.array
    if not is_image_shape(array.shape):
        raise InputError(f"{rows.source}: {_shape(array)}, expected {PIXELS} pixels (28x28) a row")
    flat = _numbers(rows, array.reshape(-1, PIXELS), "a pixel, 0-255")
    if flat.dtype == np.bool_:
        return np.where(flat, np.uint8(_WHITE), np.uint8(0)), ()
    high = flat.max()
    if flat.dtype != np.uint8 and not (flat.min() >= 0 and high <= _WHITE):  # also true for NaN
        low = flat.min()
        note = (
            f"; pixels run from {low:.3g} to {high:.3g}, as if normalized: save them as 0-255"
            if low < 0
            else ""
        )
        _refuse_first(rows, flat, ~((flat >= 0) & (flat <= _WHITE)), "a pixel, 0-255", note)
    if 0 < high <= 1:
        kind = "0 and 1" if flat.dtype.kind in "iu" else "from 0 to 1"
        return np.rint(flat * float(_WHITE)).astype(np.uint8), (
            f"{rows.source}: pixels {kind}, scaled to 0-255",
        )
    if flat.dtype.kind == "f" and (flat != np.floor(flat)).any():
        return np.rint(flat).astype(np.uint8), (f"{rows.source}: pixels with fractions, rounded",)
    return flat.astype(np.uint8, copy=False), ()


def digits_from(rows: Rows) -> NDArray[np.int64]:
    """Convert rows to digits, int64 (n,): a column of digits, one-hot columns, or QMNIST's eight columns.

    Raises InputError for the first row with another value.
    """
    array = rows.array
    if array.shape[1:] == (_QMNIST_COLUMNS,) and array.dtype.kind in "iu":
        array = array[:, 0]  # the other columns: writer and position in NIST's files
    if array.shape[1:] not in ((), (1,), (DIGITS,)) or not array.shape:
        raise InputError(f"{rows.source}: {_shape(array)}, expected one digit or ten one-hot columns a row")
    column = _numbers(rows, array.reshape(len(array), -1), "a digit 0-9")
    if array.shape[1:] == (DIGITS,):
        _refuse_first(rows, column, ~np.isin(column, (0, 1)), "0 or 1 in ten one-hot columns")
        ones = column.sum(axis=1)
        if (wrong := np.flatnonzero(ones != 1)).size:
            raise InputError(
                f"{rows.name(int(wrong[0]))} has {ones[wrong[0]]:.0f} ones, "
                "expected a single 1 in ten columns"
            )
        return np.asarray(column.argmax(axis=1), np.int64)
    _refuse_first(rows, column, ~np.isin(column, np.arange(DIGITS)), "a digit 0-9")
    return np.asarray(column[:, 0], np.int64)


def upright(images: NDArray[np.uint8], source: str) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    """Transpose images, uint8 (n, 784), if they are stored as in EMNIST's files, and return a note.

    Digits are taller than wide, on average over 50 images. With fewer images, `emnist` in the file's name
    decides.
    """
    stretch = _stretch(images)
    enough = len(stretch) >= _ORIENTATION_IMAGES
    if not (stretch.mean() < _TRANSPOSED if enough else "emnist" in source.lower() and len(stretch)):
        return images, ()
    why = "are wider than tall" if enough else "come from EMNIST"
    turned = images.reshape(-1, SIDE, SIDE).transpose(0, 2, 1).reshape(-1, PIXELS)
    return np.ascontiguousarray(turned), (
        f"{source}: the digits {why}, transposed as in EMNIST's files; turned",
    )


def _stretch(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Return how much taller (up to 1) or wider (down to -1) each image is, blank ones excluded."""
    sample = images[:: max(1, len(images) // 500)].reshape(-1, SIDE, SIDE).astype(np.float32)
    mass = sample.sum((1, 2))
    places = np.arange(SIDE, dtype=np.float32)
    variances = []
    for axis in (2, 1):  # summed over columns, then over rows
        share = sample.sum(axis) / np.maximum(mass, 1)[:, None]
        variances.append(share @ places**2 - (share @ places) ** 2)
    rows, columns = variances
    drawn = rows + columns > 1  # blank images and single dots have no direction
    stretch: NDArray[np.float32] = (rows - columns)[drawn] / (rows + columns)[drawn]
    return stretch


def _numbers(rows: Rows, array: NDArray[Any], expected: str) -> NDArray[Any]:
    if array.dtype.kind in "biuf":
        return array
    if array.dtype.kind not in "US":
        raise InputError(f"{rows.source}: values of type {array.dtype}, expected numbers")
    try:
        return array.astype(np.float64)
    except ValueError:
        wrong = ((index, cell) for index, row in enumerate(array) for cell in row if not is_number(cell))
        index, cell = next(wrong)
        raise InputError(f"{rows.name(index)} is {str(cell)[:20]!r}, expected {expected}") from None


def _refuse_first(
    rows: Rows, array: NDArray[Any], wrong: NDArray[np.bool_], expected: str, note: str = ""
) -> None:
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        place = f", column {column + 1}" if array.shape[1] > 1 else ""
        raise InputError(f"{rows.name(row)}{place} is {array[row, column]:g}, expected {expected}{note}")


def _shape(array: NDArray[Any]) -> str:
    if array.ndim == 2:  # noqa: PLR2004 - a table
        return f"{array.shape[1]} column{'s' * (array.shape[1] != 1)}"
    return "shape " + "x".join(map(str, array.shape))
