from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clients.data import read, read_labels
from tests.process import RunningServer, running


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The real server, with the model that ships with it."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def test_images(mnist_dir: Path) -> NDArray[np.uint8]:
    """MNIST's 10,000 test images, uint8 (n, 28, 28)."""
    return read(mnist_dir / "t10k-images-idx3-ubyte.gz").images.reshape(-1, 28, 28)


@pytest.fixture(scope="session")
def test_digits(mnist_dir: Path) -> NDArray[np.int64]:
    return read_labels(mnist_dir / "t10k-labels-idx1-ubyte.gz")
