"""Whether a model that says 90 % is right nine times in ten."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
_SMALLEST = 1e-12


@dataclass(frozen=True, eq=False)
class Calibration:
    """Confidence against accuracy, in bins of equal width; each array is float64 or int64 [15].

    `confidence` and `accuracy` are means over a bin's images, 0 where `images` is. `nll` is the mean negative
    logarithm of the true digit's probability, in nats; `brier` the mean squared distance between
    probabilities and truth, 0-2; `ece` the mean gap between confidence and accuracy, weighted by images.
    """

    images: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    ece: float
    nll: float
    brier: float


def calibrate(digits: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Calibration:
    """Judge probabilities [n, 10] by the true digits [n]."""
    wide = probabilities.astype(np.float64)
    confidence = wide.max(axis=1)
    right = (wide.argmax(axis=1) == digits).astype(np.float64)
    place = np.minimum((confidence * BINS).astype(np.int64), BINS - 1)
    images = np.bincount(place, minlength=BINS)
    filled = np.maximum(images, 1)
    mean_confidence = np.bincount(place, confidence, BINS) / filled
    accuracy = np.bincount(place, right, BINS) / filled
    of_truth = wide[np.arange(len(digits)), digits]
    return Calibration(
        images=images,
        confidence=mean_confidence,
        accuracy=accuracy,
        ece=float((images * np.abs(mean_confidence - accuracy)).sum() / len(digits)),
        nll=float(-np.log(np.maximum(of_truth, _SMALLEST)).mean()),
        brier=float(((wide - np.eye(10)[digits]) ** 2).sum(axis=1).mean()),
    )
