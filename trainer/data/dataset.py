"""Labelled images in memory, and the part of them that is set aside while training."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

SPLIT_SEED = 20_210_419
"""Fixes the splits, so that runs of different seeds are judged on the same images."""


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test images: uint8 [n, 784], digits int64 [n]."""

    name: str
    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]

    @cached_property
    def sha256(self) -> str:
        """Digest of the pixels and digits, the same for the same data in any file format."""
        return _digest(self.x_train, self.y_train, self.x_test, self.y_test)

    @cached_property
    def test_sha256(self) -> str:
        """Digest of the test images and their digits."""
        return _digest(self.x_test, self.y_test)


def _digest(*arrays: NDArray[Any]) -> str:
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).astype(np.uint8).tobytes())
    return digest.hexdigest()


@dataclass(frozen=True, eq=False)
class Split:
    """Training images without those set aside for validation."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_validation: NDArray[np.uint8]
    y_validation: NDArray[np.int64]


def split_validation(dataset: Dataset, fraction: float) -> Split:
    """Set aside a fraction of each digit's training images; test images are not looked at."""
    train, validation = stratified(dataset.y_train, fraction)
    return Split(
        dataset.x_train[train],
        dataset.y_train[train],
        dataset.x_train[validation],
        dataset.y_train[validation],
    )


def stratified(digits: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return positions of the larger and the smaller part, `fraction` of each digit in the smaller."""
    rng = np.random.default_rng(SPLIT_SEED)
    small = np.zeros(len(digits), dtype=bool)
    for digit in range(10):
        positions = np.flatnonzero(digits == digit)
        small[rng.permutation(positions)[: round(fraction * len(positions))]] = True
    return np.flatnonzero(~small), np.flatnonzero(small)
