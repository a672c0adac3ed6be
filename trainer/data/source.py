"""What `--data` may name."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.data.folder import load_archive, load_files, load_folder, read_values
from trainer.data.mnist import MNIST_NAME, MNIST_SHA256, load_mnist
from trainer.data.sample import load_sample
from trainer.data.values import pair
from trainer.errors import TrainerError

EXPECTED = "sample, mnist, a folder, an npz file, or X_train,y_train,X_test,y_test"


def load_data(source: str) -> Dataset:
    """Return the data set that `source` names.

    `sample` is the 5,000 images that need no download, `mnist` all of MNIST, downloaded once; else a
    folder, an npz file, or four files separated by commas. Raises TrainerError.
    """
    if source == "sample":
        return load_sample()
    if source == "mnist":
        return load_mnist()
    dataset = _load_paths([Path(part) for part in source.split(",")], source)
    # The same images are the same data, whatever the folder is called.
    return replace(dataset, name=MNIST_NAME) if dataset.sha256 == MNIST_SHA256 else dataset


def load_test_images(source: str) -> tuple[str, NDArray[np.uint8], NDArray[np.int64]]:
    """Return name, images [n, 784] and digits [n] of a data set's test part.

    `source` may also be two files, X_test,y_test. Raises TrainerError.
    """
    paths = [Path(part) for part in source.split(",")]
    if len(paths) == len(("x_test", "y_test")):
        return paths[0].name, *pair(*(read_values(path) for path in paths))
    dataset = load_data(source)
    return dataset.name, dataset.x_test, dataset.y_test


def _load_paths(paths: list[Path], source: str) -> Dataset:
    for path in paths:
        if not path.exists():
            raise TrainerError(f"--data {path}: no such file or folder, expected {EXPECTED}")
    if len(paths) == len(("x_train", "y_train", "x_test", "y_test")):
        return load_files(paths[0].resolve().parent.name, *paths)
    if len(paths) != 1:
        raise TrainerError(f"--data {source}: {len(paths)} files, expected {EXPECTED}")
    try:
        return load_folder(paths[0]) if paths[0].is_dir() else load_archive(paths[0], paths[0].stem)
    except OSError as error:
        raise TrainerError(f"--data {paths[0]}: {error.strerror}") from error
