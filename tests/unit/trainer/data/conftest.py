"""A small data set that every format is tested with."""

import numpy as np
import pytest

from trainer.data.dataset import Dataset


@pytest.fixture(scope="session")
def small() -> Dataset:
    """30 + 20 images of random pixels, every digit among them; 0 and 255 occur."""
    rng = np.random.default_rng(7)
    x_train, x_test = (rng.integers(0, 256, (n, 784), np.uint8) for n in (30, 20))
    x_train[0, :2] = 0, 255
    return Dataset("small", x_train, np.arange(30) % 10, x_test, np.arange(20) % 10)
