"""A 28x28 image drawn in a terminal: two pixels a character."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from clients.images import SIDE

_HALF = 128
_RESET = "\x1b[0m"


def draw(image: NDArray[np.uint8], *, colour: bool) -> list[str]:
    """Draw `image`, 784 values, as 14 lines of 28 columns; grey levels where `colour` codes may be used."""
    upper, lower = image.reshape(SIDE // 2, 2, SIDE).swapaxes(0, 1)
    line = _grey_line if colour else _plain_line
    return [line(above, below) for above, below in zip(upper, lower, strict=True)]


def beside(left: Sequence[str], right: Sequence[str], gap: str = "   ") -> list[str]:
    """Put `right` beside the middle of `left`, whose lines are equally wide."""
    top = max(0, (len(left) - len(right)) // 2)
    padded = [""] * top + list(right) + [""] * (len(left) - top - len(right))
    return [f"{a}{gap}{b}".rstrip() for a, b in zip(left, padded, strict=True)]


def _grey_line(above: NDArray[np.uint8], below: NDArray[np.uint8]) -> str:
    cells = [f"\x1b[38;5;{_grey(a)};48;5;{_grey(b)}m▀" for a, b in zip(above, below, strict=True)]
    return "".join(cells) + _RESET


def _grey(value: np.uint8) -> int:
    # The 256-colour palette's ramp: 232 is nearly black, 255 nearly white.
    return 232 + int(value) * 23 // 255


def _plain_line(above: NDArray[np.uint8], below: NDArray[np.uint8]) -> str:
    return "".join(" ▀▄█"[(a >= _HALF) + 2 * (b >= _HALF)] for a, b in zip(above, below, strict=True))
