"""From a picture of a digit to what MNIST looks like.

MNIST's images were made so: the digit, white on black, is scaled with anti-aliasing to fit a 20x20
box and put into a 28x28 field with its centre of mass in the middle.
"""

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from clients.errors import InputError

_SIDE, _BOX = 28, 20


def normalise(grey: NDArray[np.uint8], name: str) -> NDArray[np.uint8]:
    """Make a grey picture (height, width) like MNIST; uint8 (28, 28).

    Raises InputError where nothing is drawn on it.
    """
    edge = np.concatenate([grey[0], grey[-1], grey[:, 0], grey[:, -1]])
    ink = 255 - grey if np.median(edge) > 127 else grey  # noqa: PLR2004 - paper is in the brighter half
    low, high = int(ink.min()), int(ink.max())
    if high - low < 16:  # noqa: PLR2004 - less contrast than the noise of a camera
        raise InputError(f"{name}: nothing is drawn on it (all grey values lie between {low} and {high})")
    ink = ((ink.astype(np.float32) - low) * (255 / (high - low))).astype(np.uint8)
    rows, columns = np.nonzero(ink > 127)  # noqa: PLR2004 - ink is in the darker half
    crop = ink[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    scale = _BOX / max(crop.shape)
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    return _centred(np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.LANCZOS, reducing_gap=3)))


def _centred(digit: NDArray[np.uint8]) -> NDArray[np.uint8]:
    height, width = digit.shape
    mass = digit.astype(np.float64) / digit.sum()
    row = float(mass.sum(axis=1) @ np.arange(height))
    column = float(mass.sum(axis=0) @ np.arange(width))
    top = min(max(round((_SIDE - 1) / 2 - row), 0), _SIDE - height)
    left = min(max(round((_SIDE - 1) / 2 - column), 0), _SIDE - width)
    field = np.zeros((_SIDE, _SIDE), np.uint8)
    field[top : top + height, left : left + width] = digit
    return field
