"""Read images and digits from one file, or from a file of images and one of labels."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.data.arrays import ROLES, Part, find_key, read_idx, read_npy, read_npz
from clients.data.content import opened, sniff
from clients.data.parquet import read_parquet
from clients.data.tables import Table, read_table
from clients.data.values import Rows, digits_from, images_from, is_image_shape, upright
from clients.errors import InputError

# Images that decide about the scale of pixels and about transposition.
_SAMPLE_ROWS = 200


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images, uint8 (n, 784), with their digits, int64 (n,), if the file has them.

    `notes` are lines about changes while reading.
    """

    images: NDArray[np.uint8]
    digits: NDArray[np.int64] | None
    notes: tuple[str, ...] = ()


def is_data_file(path: Path) -> bool:
    """Tell by its content whether a file has many images rather than a picture."""
    return sniff(path) not in {"picture", "other"}


def read(path: Path, *, count: int | None = None, part: Part | None = None) -> ImageData:
    """Read the first `count` images of a file (all by default), and their digits if it has them.

    `part` chooses from an .npz file with a training and a test part; by default the test part. Raises
    InputError.
    """
    pixels, labels = _read(path, count and max(count, _SAMPLE_ROWS), part)
    if pixels is None:
        raise InputError(f"{path}: labels only, expected images of 784 pixels (28x28) a row")
    return _data(pixels, digits_from(labels) if labels else None, str(path), count)


def read_labels(path: Path) -> NDArray[np.int64]:
    """Read digits, int64 (n,), from a file of labels or of labelled images; raises InputError."""
    _, labels = _read(path, None, None)
    if labels is None:
        raise InputError(f"{path}: images only, expected labels")
    return digits_from(labels)


def read_pair(images: Path, labels: Path, *, count: int | None = None) -> ImageData:
    """Read images, and digits from another file; raises InputError if their numbers differ."""
    label_rows, maybe_header = _read_labels(labels)
    digits = digits_from(label_rows)
    wanted = None if count is None or maybe_header else max(count, _SAMPLE_ROWS)
    pixels, _ = _read(images, wanted, None)
    if pixels is None:
        raise InputError(f"{images}: labels only, expected images of 784 pixels (28x28) a row")
    notes: tuple[str, ...] = ()
    data = _data(pixels, None, str(images), None)
    total = len(data.images)
    if maybe_header and len(digits) == total + 1:
        digits = digits[1:]
        notes = (f"{labels}: a row more than images; its first, 0, was taken for pandas' header",)
    if len(digits) != total and (wanted is None or total < wanted or len(digits) < total):
        raise InputError(f"{labels}: {len(digits):,} rows, expected {total:,} as in {images}")
    return ImageData(data.images[:count], digits[:total][:count], data.notes + notes)


def _data(pixels: Rows, digits: NDArray[np.int64] | None, source: str, count: int | None) -> ImageData:
    images, notes = images_from(pixels)
    if digits is not None and len(digits) != len(images):
        raise InputError(f"{source}: {len(images):,} images and {len(digits):,} labels")
    images, turned = upright(images, source)
    return ImageData(images[:count], None if digits is None else digits[:count], notes + turned)


def _read(path: Path, count: int | None, part: Part | None) -> tuple[Rows | None, Rows | None]:
    """Read the rows of pixels and labels, either of which may be missing."""
    source = str(path)
    with opened(path) as (form, file):
        match form:
            case "table":
                table = read_table(file, source, count)
                return table.pixels, table.labels
            case "parquet":
                return read_parquet(path, count)
            case "zip":
                images, labels = (find_key(file, source, role, part) for role in ROLES)
                return (
                    read_npz(file, source, "images", part, count) if images or not labels else None,
                    read_npz(file, source, "labels", part, count) if labels else None,
                )
            case "idx" | "npy":
                rows = (read_idx if form == "idx" else read_npy)(file, source, count)
                return (rows, None) if is_image_shape(rows.array.shape) else _as_labels(rows)


def _as_labels(rows: Rows) -> tuple[Rows | None, Rows | None]:
    # Images of another size are refused later, by their shape.
    return (
        (None, rows) if rows.array.ndim == 1 or rows.array.shape[1:] in {(1,), (8,), (10,)} else (rows, None)
    )


def _read_labels(path: Path) -> tuple[Rows, bool]:
    with opened(path) as (form, file):
        table = read_table(file, str(path)) if form == "table" else Table(None, None)
    labels = table.labels if form == "table" else _read(path, None, None)[1]
    if labels is None:
        raise InputError(f"{path}: images only, expected labels")
    return labels, table.starts_with_zero
