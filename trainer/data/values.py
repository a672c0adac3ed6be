"""Numbers as a file holds them, and the rules that make them images or digits."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

SIDE = 28
PIXELS = SIDE * SIDE
DIGITS = 10
_WHITE = 255
_IMAGE_SHAPES = ((PIXELS,), (SIDE, SIDE), (SIDE, SIDE, 1))


@dataclass(frozen=True, eq=False)
class Values:
    """An array [n, ...] with what it takes to point at one of its rows.

    `source` is the file, or the array in a file; `first_row` is how people count the row that holds
    `array[0]`: 2 below a header line.
    """

    array: NDArray[Any]
    source: str
    first_row: int = 1

    def row(self, index: int) -> str:
        """Return how an error message names a row."""
        return f"{self.source}: row {index + self.first_row}"


def images_from(values: Values) -> NDArray[np.uint8]:
    """Return uint8 [n, 784]; raise TrainerError unless these are whole numbers 0-255, 28x28 in a row."""
    array = values.array
    if array.shape[1:] not in _IMAGE_SHAPES:
        raise TrainerError(f"{values.source}: {_shape(array)}, expected {PIXELS} pixels (28x28) a row")
    if len(array) == 0:
        raise TrainerError(f"{values.source}: no images")
    flat = array.reshape(len(array), PIXELS)
    if flat.dtype != np.uint8:
        _refuse_first(values, flat, _outside(flat, _WHITE), "a pixel, a whole number 0-255")
    return flat.astype(np.uint8, copy=False)


def digits_from(values: Values) -> NDArray[np.int64]:
    """Return int64 [n] from one column of digits or ten one-hot columns. Raises TrainerError."""
    array = values.array
    if array.shape[1:] not in ((), (1,), (DIGITS,)):
        raise TrainerError(
            f"{values.source}: {_shape(array)}, expected one digit or ten one-hot columns a row"
        )
    if len(array) == 0:
        raise TrainerError(f"{values.source}: no digits")
    if array.shape[1:] == (DIGITS,):
        return _from_one_hot(values)
    column = array.reshape(len(array), 1)
    _refuse_first(values, column, _outside(column, DIGITS - 1), "a digit 0-9")
    return column[:, 0].astype(np.int64)


def pair(images: Values, digits: Values) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return images and digits that belong together, row by row. Raises TrainerError."""
    x, y = images_from(images), digits_from(digits)
    if len(x) != len(y):
        raise TrainerError(f"{digits.source}: {len(y)} rows, expected {len(x)} as in {images.source}")
    return x, y


def _from_one_hot(values: Values) -> NDArray[np.int64]:
    array = values.array
    _refuse_first(values, array, _outside(array, 1), "0 or 1 in ten one-hot columns")
    ones = array.sum(axis=1)
    if (wrong := np.flatnonzero(ones != 1)).size:
        raise TrainerError(
            f"{values.row(wrong[0])} has {ones[wrong[0]]:.0f} ones, expected a single 1 in ten columns"
        )
    digits: NDArray[np.int64] = array.argmax(axis=1).astype(np.int64)
    return digits


def _outside(array: NDArray[Any], high: int) -> NDArray[np.bool_]:
    """Return where the numbers [n, k] are not whole or not in 0-high; NaN is neither."""
    wrong: NDArray[np.bool_] = ~((array >= 0) & (array <= high))
    if array.dtype.kind == "f":
        wrong |= array != np.floor(array)
    return wrong


def _refuse_first(values: Values, array: NDArray[Any], wrong: NDArray[np.bool_], expected: str) -> None:
    if wrong.any():
        row, column = (int(i) for i in np.argwhere(wrong)[0])
        place = f", column {column + 1}" if array.shape[1] > 1 else ""
        raise TrainerError(f"{values.row(row)}{place} is {array[row, column]:g}, expected {expected}")


def _shape(array: NDArray[Any]) -> str:
    if array.ndim == 2:  # noqa: PLR2004  # a table
        return f"{array.shape[1]} columns" if array.shape[1] != 1 else "1 column"
    return "shape " + "x".join(map(str, array.shape))
