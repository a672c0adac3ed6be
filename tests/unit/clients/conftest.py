from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from clients.testing import FakeServer


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def digit_images() -> Callable[[int], NDArray[np.uint8]]:
    """Make n images whose digits, as the fake server sees them, are 0 1 2 ... 9 0 1 ..."""

    def make(count: int) -> NDArray[np.uint8]:
        images = np.zeros((count, 784), np.uint8)
        images[:, 0] = np.arange(count) % 10
        images.reshape(-1, 28, 28)[:, 8:20, 13:16] = 255  # ink: a blank picture is refused
        return images

    return make


@pytest.fixture
def idx_file(tmp_path: Path) -> Callable[[NDArray[np.uint8]], Path]:
    """Write an array as an IDX file."""

    def write(array: NDArray[np.uint8], name: str = "images-idx3-ubyte") -> Path:
        path = tmp_path / name
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        path.write_bytes(header + array.tobytes())
        return path

    return write
