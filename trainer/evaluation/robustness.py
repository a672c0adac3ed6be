"""Accuracy on digits that are not as clean as the test set's."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.evaluation.corruption import CORRUPTIONS, Corruption, Level, corrupt
from trainer.prediction import Predictor

MAX_IMAGES = 2000
"""More would take long on a slow network and move no figure by more than a point."""

_SEED = 28


@dataclass(frozen=True)
class Resistance:
    """Accuracy under one level of one corruption."""

    corruption: Corruption
    level: Level
    accuracy: float


@dataclass(frozen=True)
class Robustness:
    """Accuracy of the same images clean and under every level of every corruption."""

    images: int
    clean_accuracy: float
    resistances: tuple[Resistance, ...]

    @property
    def mean_accuracy(self) -> float:
        """Mean over all levels of all corruptions."""
        return float(np.mean([each.accuracy for each in self.resistances]))

    @property
    def worst(self) -> Resistance:
        """The corruption that costs most."""
        return min(self.resistances, key=lambda each: each.accuracy)


def measure_robustness(
    predict: Predictor, images: NDArray[np.uint8], digits: NDArray[np.int64]
) -> Robustness:
    """Corrupt up to 2,000 test images [n, 784], spread evenly over the set, and count right answers."""
    chosen = np.unique(np.linspace(0, len(digits) - 1, min(len(digits), MAX_IMAGES)).astype(np.int64))
    x, y = images[chosen], digits[chosen]

    def accuracy(of: NDArray[np.uint8]) -> float:
        return float((predict(of).argmax(axis=1) == y).mean())

    return Robustness(
        images=len(y),
        clean_accuracy=accuracy(x),
        resistances=tuple(
            Resistance(corruption, level, accuracy(corrupt(x, level, _SEED)))
            for corruption in CORRUPTIONS
            for level in corruption.levels
        ),
    )
