"""Files of many 28x28 images, with or without their true digits, whatever their format."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients import idx, tables
from clients.arrays import read_npy, read_npz
from clients.errors import InputError
from clients.images import from_array

_IMAGE_KEYS = ("images", "x_test", "X_test", "x")
_LABEL_KEYS = ("labels", "y_test", "Y_test", "y")
# What a folder may hold, the first that is there: images and labels.
_PAIRS = (
    ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
    ("t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"),
    ("mnist.npz", "mnist.npz"),
    ("X_test.tsv", "y_test.tsv"),
    ("X_test.tsv.gz", "y_test.tsv.gz"),
)


@dataclass(frozen=True, slots=True)
class Labelled:
    """Name a file of images and the file of their true digits."""

    images: Path
    labels: Path


def is_dataset(path: Path) -> bool:
    """Say whether a file looks like one of many images rather than one picture."""
    name = path.name.removesuffix(".gz")
    return name.endswith((".npz", ".npy", "-ubyte", ".idx", *tables.SUFFIXES))


def read_images(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield images, uint8 (k, 784), from IDX, .npy, .npz or a table; raises InputError."""
    name = path.name.removesuffix(".gz")
    if name.endswith(tables.SUFFIXES):
        yield from tables.read_images(path)
    elif name.endswith((".npz", ".npy")):
        rows = read_npz(path, _IMAGE_KEYS) if name.endswith(".npz") else read_npy(path)
        for some in rows:
            yield from_array(some, str(path))
    else:
        yield from idx.read_images(path)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read true digits, uint8 (n,), from IDX, .npy, .npz or a table; raises InputError."""
    name = path.name.removesuffix(".gz")
    if name.endswith(tables.SUFFIXES):
        return tables.read_labels(path)
    if not name.endswith((".npz", ".npy")):
        return idx.read_labels(path)
    rows = read_npz(path, _LABEL_KEYS) if name.endswith(".npz") else read_npy(path)
    labels = np.concatenate(list(rows))
    if labels.ndim != 1 or not np.isin(labels, np.arange(10)).all():
        raise InputError(f"{path}: labels of shape {labels.shape}, expected (n,) with values 0-9")
    return labels.astype(np.uint8)


def find_labelled(path: Path, labels: Path | None) -> Labelled:
    """Find the images and true digits that `path` means: a folder, a .npz, or a file beside `labels`."""
    if labels:
        return Labelled(path, labels)
    if path.name.endswith(".npz"):
        return Labelled(path, path)
    for images_name, labels_name in _PAIRS:
        if (path / images_name).is_file() and (path / labels_name).is_file():
            return Labelled(path / images_name, path / labels_name)
    if path.is_dir():
        raise InputError(
            f"{path}: no labelled images in it, expected {_PAIRS[0][0]}, mnist.npz or X_test.tsv"
        )
    raise InputError(f"{path}: give a file of labels too, or a folder or .npz that holds both")
