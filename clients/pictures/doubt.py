"""Answers that are not sure, in words, and images that are no digit."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

SURE = 0.8
# Share of ink among 28x28 pixels: MNIST's test images have 3 to 36 %.
_LEAST_INK, _MOST_INK = 0.02, 0.40
_DRAWN = 64  # of 255


def doubt(image: NDArray[np.uint8], probabilities: Sequence[float]) -> str:
    """Name what is doubtful in an answer to one image, uint8 (784,); empty if nothing is.

    An image with almost no ink, or ink almost everywhere, is not a digit, however sure the answer. Below a
    confidence of 80 % the two likeliest digits are named.
    """
    ink = float((np.asarray(image) > _DRAWN).mean())
    if not _LEAST_INK <= ink <= _MOST_INK:
        return "not a digit"
    two, one = np.argsort(probabilities)[-2:]
    if probabilities[one] >= SURE:
        return ""
    return f"not sure: {one} ({100 * probabilities[one]:.0f} %) or {two} ({100 * probabilities[two]:.0f} %)"
