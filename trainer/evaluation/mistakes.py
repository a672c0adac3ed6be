"""mistakes.tsv: the test images that a model took for another digit, enough to compare two models by."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

MISTAKES = "mistakes.tsv"
"""Name of the file in the report folder."""

_HEADER = "image\tdigit\tpredicted"


def write_mistakes(path: Path, digits: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
    """Write a row for each test image taken for another digit, images counted from 0."""
    wrong = np.flatnonzero(digits != predicted)
    rows = [f"{image}\t{digits[image]}\t{predicted[image]}" for image in wrong]
    path.write_text("\n".join([_HEADER, *rows]) + "\n", encoding="utf-8")


def read_mistakes(path: Path) -> set[int]:
    """Return which images were taken for another digit. Raises TrainerError."""
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
