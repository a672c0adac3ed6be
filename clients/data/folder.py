"""Training and test parts of a folder or file, recognised by names."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from clients.data.arrays import Part, has_both_parts
from clients.data.content import opened
from clients.data.reader import ImageData, read, read_pair
from clients.errors import InputError

EXPECTED = (
    "four IDX files (train-images-idx3-ubyte ...), mnist.npz, four tables "
    "(X_train.tsv y_train.tsv X_test.tsv y_test.tsv), "
    "or labelled tables or Parquet files named train and test"
)
_SUFFIXES = {"", ".npz", ".npy", ".csv", ".tsv", ".tabular", ".txt", ".parquet", ".idx", ".data"}
_PARTS: dict[Part, tuple[str, ...]] = {"train": ("train", "training"), "test": ("test", "t10k")}
# Subfolders that torchvision and Hugging Face create.
_INNER = ("MNIST/raw", "raw", "mnist", "data")


@dataclass(frozen=True, eq=False)
class Parts:
    """A training and a test part; `test` is None for a single labelled file."""

    train: ImageData
    test: ImageData | None


def read_parts(path: Path) -> Parts:
    """Read both parts of a data set: a folder, an .npz file with both, or one labelled file alone.

    Raises InputError if there is no data set, or more than one.
    """
    if path.is_dir():
        found = _read_folder(path, ("train", "test"))
        return Parts(found["train"], found["test"])
    with opened(path) as (form, file):
        both = form == "zip" and has_both_parts(file, str(path))
    if both:
        return Parts(_labelled(path, "train"), _labelled(path, "test"))
    return Parts(_labelled(path, None), None)


def read_test(path: Path) -> ImageData:
    """Read the test part of a data set, or all of one labelled file; a folder needs no training part.

    Raises InputError if there is no data set, or more than one.
    """
    return _read_folder(path, ("test",))["test"] if path.is_dir() else _labelled(path, None)


def _labelled(path: Path, part: Part | None) -> ImageData:
    data = read(path, part=part)
    if data.digits is None:
        raise InputError(f"{path}: images without labels, expected both")
    return data


def _read_folder(folder: Path, wanted: Sequence[Part]) -> dict[Part, ImageData]:
    places = [folder, *(folder / inner for inner in _INNER if (folder / inner).is_dir())]
    place = next((place for place in places if _files(place)), folder)
    files = _files(place)
    archives = [path for path in files if path.suffix == ".npz"]
    named = {part: [path for path in files if _part(path) == part] for part in _PARTS}
    found = [*archives, *(paths[0] for paths in named.values() if paths)]
    if archives:
        if len(found) > 1:
            raise InputError(
                f"{folder}: {' and '.join(path.name for path in found)}, expected one of: {EXPECTED}"
            )
        return {part: _labelled(archives[0], part) for part in wanted}
    if not all(named[part] for part in wanted):
        held = " and ".join(path.name for path in found) or "no data set"
        raise InputError(f"{folder}: {held} in this folder, expected one of: {EXPECTED}")
    return {part: _read_part(folder, part, named[part]) for part in wanted}


def _files(folder: Path) -> list[Path]:
    """List possible data files; of a plain and a gzipped file, only the plain one."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    names = {path.name for path in files}
    files = [path for path in files if not (path.suffix == ".gz" and path.name.removesuffix(".gz") in names)]
    return [
        path
        for path in files
        if (_part(path) or _plain(path).endswith(".npz")) and Path(_plain(path)).suffix in _SUFFIXES
    ]


def _plain(path: Path) -> str:
    # Some mirrors name it train-images.idx3-ubyte.
    return path.name.lower().removesuffix(".gz").replace(".idx", "-idx")


def _part(path: Path) -> Part | None:
    words = re.split(r"[^a-z0-9]+", _plain(path))
    return next((part for part, names in _PARTS.items() if set(words) & set(names)), None)


def _is_labels(path: Path) -> bool:
    return bool(set(re.split(r"[^a-z0-9]+", _plain(path))) & {"y", "labels", "label"})


def _read_part(folder: Path, part: Part, paths: list[Path]) -> ImageData:
    labels = [path for path in paths if _is_labels(path)]
    images = [path for path in paths if path not in labels]
    shards = all(re.search(r"-\d+-of-\d+", path.name) for path in images)
    if len(labels) > 1 or not images or (len(images) > 1 and (labels or not shards)):
        held = ", ".join(path.name for path in paths)
        raise InputError(
            f"{folder}: {part}: {held}; expected one file of images and one of labels, or one with both"
        )
    if labels:
        return read_pair(images[0], labels[0])
    pieces = [_labelled(path, None) for path in images]
    digits = np.concatenate([piece.digits for piece in pieces if piece.digits is not None])
    return ImageData(
        np.concatenate([piece.images for piece in pieces]), digits, sum((piece.notes for piece in pieces), ())
    )
