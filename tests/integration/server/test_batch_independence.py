"""A prediction does not depend on its batch: all of MNIST's test images in batches of every kind."""

from pathlib import Path

import numpy as np
import pytest

from clients.data import read
from server.model.manifest import VersionFiles
from server.model.model import Model
from server.model.session import Runtime
from server.settings import SHIPPED_REPOSITORY
from tests.shipped import SHIPPED_DIGITS

# Differences by reordered float32 additions.
FLOAT_NOISE = 1e-5


@pytest.mark.mnist
@pytest.mark.parametrize("int8", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_digit_does_not_depend_on_the_batch(mnist_dir: Path, seed: int, int8: bool) -> None:
    files = VersionFiles.read(SHIPPED_DIGITS, SHIPPED_REPOSITORY)
    model = Model.load(files, runtime=Runtime(int8=int8), max_batch_images=256)
    images = read(mnist_dir / "t10k-images-idx3-ubyte.gz").images
    alone = np.concatenate(
        [model.predict(images[start : start + 100]) for start in range(0, len(images), 100)]
    )

    rng = np.random.default_rng(seed)
    order = rng.permutation(len(images))
    together = np.empty_like(alone)
    start = 0
    while start < len(order):
        batch = order[start : start + rng.integers(1, 257)]
        together[batch] = model.predict(images[batch])
        start += len(batch)

    assert (together.argmax(axis=1) == alone.argmax(axis=1)).all()
    np.testing.assert_allclose(together, alone, atol=FLOAT_NOISE)
