"""What happens as one asks for more confidence before saying that an image shows a digit."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_MAX_POINTS = 250
# A curve of an accurate model is all in its corner: rates are told apart down to this.
_FINEST = 1e-4


@dataclass(frozen=True, eq=False)
class Curves:
    """One digit against the nine others.

    The points of both curves, float64 [k], from the strictest threshold to the loosest, and the areas
    under them; NaN where the digit is not among the images, or nothing else is.
    """

    digit: int
    false_positive_rate: NDArray[np.float64]
    true_positive_rate: NDArray[np.float64]
    roc_auc: float
    recall: NDArray[np.float64]
    precision: NDArray[np.float64]
    average_precision: float


def digit_curves(digits: NDArray[np.int64], probabilities: NDArray[np.float32]) -> tuple[Curves, ...]:
    """Return ROC and precision-recall curves of each digit, from probabilities [n, 10]."""
    return tuple(_curves(digit, digits == digit, probabilities[:, digit]) for digit in range(10))


def _curves(digit: int, own: NDArray[np.bool_], probability: NDArray[np.float32]) -> Curves:
    from sklearn.metrics import (  # noqa: PLC0415  # a second to import
        auc,
        average_precision_score,
        precision_recall_curve,
        roc_curve,
    )

    if own.all() or not own.any():
        nothing = np.empty(0)
        return Curves(digit, nothing, nothing, float("nan"), nothing, nothing, float("nan"))
    false_positive, true_positive, _ = roc_curve(own, probability)
    precision, recall, _ = precision_recall_curve(own, probability)
    roc = _thinned(false_positive, true_positive, np.log(false_positive + _FINEST))
    pr = _thinned(recall[::-1], precision[::-1], np.log(1 + _FINEST - recall[::-1]))
    return Curves(
        digit=digit,
        false_positive_rate=roc[0],
        true_positive_rate=roc[1],
        roc_auc=float(auc(false_positive, true_positive)),
        recall=pr[0],
        precision=pr[1],
        average_precision=float(average_precision_score(own, probability)),
    )


def _thinned(
    x: NDArray[np.float64], y: NDArray[np.float64], scale: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Keep as many points as a drawing shows, evenly along the curve where `scale` takes the place of x."""
    if len(x) <= _MAX_POINTS:
        return x, y
    walked = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(scale)) + 100 * np.abs(np.diff(y)))])
    kept = np.searchsorted(walked, np.linspace(0, walked[-1], _MAX_POINTS))
    kept = np.unique(np.concatenate([[0], np.minimum(kept, len(x) - 1), [len(x) - 1]]))
    return x[kept], y[kept]
