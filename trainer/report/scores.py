"""Scores: accuracy, calibration, curves, and the comparison of two models."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import DIGITS
from trainer.errors import TrainerError

Floats = NDArray[np.float64]
Metrics = dict[str, Any]
"""Measurements with the keys of metrics.json."""

BINS = 15
SIGNIFICANT = 0.05
MISCLASSIFIED = "misclassified.tsv"
"""Name of the file, in the report folder, that two models are compared by."""

_HEADER = "image\tdigit\tpredicted"
_LABELS = list(range(DIGITS))


def score(digits: NDArray[np.int64], probabilities: NDArray[np.float32]) -> Metrics:
    """Return the scores of probabilities [n, 10] by the true digits [n], with the keys of metrics.json.

    Shares are 0-1; `_low` and `_high` are their 95 % interval. `confusion_matrix` is true by predicted digit;
    scores of missing digits are 0. `nll_nats` is the mean of -ln(probability of the true digit), `brier` the
    mean squared distance of probabilities from truth (0-2), `ece` the mean gap between confidence and
    accuracy over 15 bins of confidence, weighted by images.
    """
    from sklearn.metrics import confusion_matrix, log_loss  # noqa: PLC0415  # a second to import

    wide = probabilities.astype(np.float64)
    wide /= wide.sum(axis=1, keepdims=True)
    confusion = confusion_matrix(digits, probabilities.argmax(axis=1), labels=_LABELS)
    right, own, predicted = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    images, confidence, accuracy = reliability(digits, probabilities)
    table: Metrics = {
        **_share("test_accuracy", right.sum(), len(digits)),
        "test_images": len(digits),
        "test_errors_images": len(digits) - int(right.sum()),
        "test_nll_nats": float(log_loss(digits, wide, labels=_LABELS)),
        "test_brier": float(((wide - np.eye(DIGITS)[digits]) ** 2).sum(axis=1).mean()),
        "test_ece": float(np.average(np.abs(confidence - accuracy), weights=images)),
    }
    for digit in _LABELS:
        table |= {
            f"digit_{digit}_images": int(own[digit]),
            **_share(f"digit_{digit}_precision", right[digit], predicted[digit]),
            **_share(f"digit_{digit}_recall", right[digit], own[digit]),
            f"digit_{digit}_f1": float(2 * right[digit] / max(1, own[digit] + predicted[digit])),
        }
    return table | {"confusion_matrix": confusion.tolist()}


def _share(key: str, successes: int, trials: int) -> Metrics:
    low, high = wilson(int(successes), int(trials))
    return {key: float(successes / max(1, trials)), f"{key}_low": low, f"{key}_high": high}


def reliability(
    digits: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> tuple[NDArray[np.int64], Floats, Floats]:
    """Return number of images, mean confidence and accuracy of each non-empty bin of confidence."""
    from sklearn.calibration import calibration_curve  # noqa: PLC0415  # a second to import

    confidence = np.clip(probabilities.max(axis=1).astype(np.float64), 0, 1)
    right = probabilities.argmax(axis=1) == digits
    edges = np.linspace(0, 1, BINS + 1)
    images = np.bincount(np.searchsorted(edges[1:-1], confidence), minlength=BINS)
    accuracy, mean_confidence = calibration_curve(right.astype(int), confidence, n_bins=BINS, pos_label=1)
    return images[images > 0], mean_confidence, accuracy


@dataclass(frozen=True, eq=False)
class Curves:
    """One digit against the others: points of both curves, float64 [k], and their areas.

    Empty and NaN without images of the digit or of others.
    """

    digit: int
    false_positive_rate: Floats
    true_positive_rate: Floats
    auroc: float
    recall: Floats
    precision: Floats
    average_precision: float


def digit_curves(digits: NDArray[np.int64], probabilities: NDArray[np.float32]) -> tuple[Curves, ...]:
    """Return ROC and precision-recall curves of each digit, from probabilities [n, 10]."""
    from sklearn import metrics  # noqa: PLC0415  # a second to import

    curves = []
    for digit in _LABELS:
        own, probability = digits == digit, probabilities[:, digit]
        if own.all() or not own.any():
            nothing = np.empty(0)
            curves.append(Curves(digit, nothing, nothing, np.nan, nothing, nothing, np.nan))
            continue
        false_positive, true_positive, _ = metrics.roc_curve(own, probability)
        precision, recall, _ = metrics.precision_recall_curve(own, probability, drop_intermediate=True)
        auroc = float(metrics.auc(false_positive, true_positive))
        area = float(metrics.average_precision_score(own, probability))
        curves.append(Curves(digit, false_positive, true_positive, auroc, recall, precision, area))
    return tuple(curves)


def wilson(successes: int, trials: int) -> tuple[float, float]:
    """Return the 95 % Wilson score interval of a proportion; all of 0-1 without trials."""
    from scipy.stats import binomtest  # noqa: PLC0415  # half a second to import

    if trials == 0:
        return 0.0, 1.0
    interval = binomtest(successes, trials).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


@dataclass(frozen=True)
class McNemar:
    """Comparison of two models on the same images, by the images that only one of them misclassified."""

    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether p is below 0.05."""
        return self.p_value < SIGNIFICANT


def compare_misclassified(images: int, first: set[int], second: set[int]) -> McNemar:
    """Compare two models by their misclassified images.

    The p-value is that of McNemar's exact two-sided test, a binomial test on the discordant images.
    """
    from scipy.stats import binomtest  # noqa: PLC0415  # half a second to import

    only_first_right, only_second_right = len(second - first), len(first - second)
    disagreements = only_first_right + only_second_right
    return McNemar(
        both_right=images - len(first | second),
        only_first_right=only_first_right,
        only_second_right=only_second_right,
        both_wrong=len(first & second),
        p_value=float(binomtest(only_first_right, disagreements).pvalue) if disagreements else 1.0,
    )


def write_misclassified(path: Path, digits: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
    """Write a row for each misclassified test image, with its index from 0."""
    rows = [f"{i}\t{digits[i]}\t{predicted[i]}" for i in np.flatnonzero(digits != predicted)]
    path.write_text("\n".join([_HEADER, *rows]) + "\n", encoding="utf-8")


def read_misclassified(path: Path) -> set[int]:
    """Return the indices of the misclassified images. Raises TrainerError."""
    try:
        header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
        wrong = {int(row.split("\t")[0]) for row in rows}
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise TrainerError(f"{path}: damaged: {error}") from error
    if header != _HEADER:
        raise TrainerError(f"{path}: begins with {header!r}, expected {_HEADER!r}")
    return wrong
