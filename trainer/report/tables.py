"""Predictions as the tutorial's tables: one row an image, a header line."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.folder import read_values
from trainer.data.values import DIGITS, digits_from

PREDICTED_HEADER = "Predicted"


def predictions_table(probabilities: NDArray[np.float32]) -> str:
    """Return the most probable digit of each row of probabilities [n, 10], below the header `Predicted`."""
    return "\n".join([PREDICTED_HEADER, *map(str, probabilities.argmax(axis=1))]) + "\n"


def probabilities_table(probabilities: NDArray[np.float32]) -> str:
    """Return probabilities [n, 10] separated by tabs, below the header `0 1 ... 9`."""
    header = "\t".join(map(str, range(DIGITS)))
    # Seven digits tell any two float32 numbers of this size apart, as far as anybody cares.
    rows = ("\t".join(f"{p:.7g}" for p in row) for row in probabilities.tolist())
    return "\n".join([header, *rows]) + "\n"


def read_predictions(path: Path) -> NDArray[np.int64]:
    """Return the digits [n] in a table of predictions. Raises TrainerError."""
    return digits_from(read_values(path))
