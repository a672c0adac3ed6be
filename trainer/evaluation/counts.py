"""Right and wrong answers, counted digit by digit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class Evaluation:
    """Predictions on held-out images, counted.

    `confusion` is int64 [10, 10]: true digit by predicted digit. `precision`, `recall` and `f1` hold one
    number a digit, 0 where nothing was predicted or nothing was there.
    """

    accuracy: float
    images: int
    confusion: NDArray[np.int64]
    precision: NDArray[np.float64]
    recall: NDArray[np.float64]
    f1: NDArray[np.float64]

    @property
    def errors(self) -> int:
        """How many images were taken for another digit."""
        return self.images - int(self.confusion.trace())


def evaluate(digits: NDArray[np.int64], predicted: NDArray[np.int64]) -> Evaluation:
    """Compare true with predicted digits, both int64 [n].

    Precision is TP / (TP + FP), recall TP / (TP + FN), F1 their harmonic mean.
    """
    confusion = np.zeros((10, 10), dtype=np.int64)
    np.add.at(confusion, (digits, predicted), 1)
    right = confusion.diagonal().astype(np.float64)
    precision = _ratio(right, confusion.sum(axis=0))
    recall = _ratio(right, confusion.sum(axis=1))
    return Evaluation(
        accuracy=float(right.sum() / len(digits)),
        images=len(digits),
        confusion=confusion,
        precision=precision,
        recall=recall,
        f1=_ratio(2 * precision * recall, precision + recall),
    )


def _ratio(top: NDArray[np.float64], bottom: NDArray[np.float64] | NDArray[np.int64]) -> NDArray[np.float64]:
    return np.divide(top, bottom, out=np.zeros_like(top), where=bottom > 0)
