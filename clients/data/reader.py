"""Read images and digits from one file, or from a file of images and one of labels."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

from clients.data.arrays import Part, read_idx, read_npy, read_npz
from clients.data.content import opened
from clients.data.parquet import read_parquet
from clients.data.tables import read_table
from clients.data.values import Content, Rows, digits_from, images_from, is_image_shape, upright
from clients.errors import InputError


@dataclass(frozen=True, eq=False)
class ImageData:
    """Images, uint8 (n, 784), with their digits, int64 (n,), if the file has them.

    `notes` are lines about changes while reading.
    """

    images: NDArray[np.uint8]
    digits: NDArray[np.int64] | None
    notes: tuple[str, ...] = ()

    def first(self, count: int | None) -> Self:
        """Return the first `count` images; all for None."""
        digits = None if self.digits is None else self.digits[:count]
        return type(self)(self.images[:count], digits, self.notes)


def read(path: Path, part: Part | None = None) -> ImageData:
    """Read the images of a file, and their digits if it has them.

    `part` chooses from an .npz file with a training and a test part; by default the test part. Raises
    InputError.
    """
    content = _read(path, part)
    images, notes = _images(content, path)
    digits = None if content.labels is None else digits_from(content.labels)
    if digits is not None and len(digits) != len(images):
        raise InputError(f"{path}: {len(images):,} images and {len(digits):,} labels")
    return ImageData(images, digits, notes)


def read_labels(path: Path) -> NDArray[np.int64]:
    """Read digits, int64 (n,), from a file of labels or of labelled images; raises InputError."""
    return digits_from(_labels(_read(path), path))


def read_pair(images: Path, labels: Path) -> ImageData:
    """Read images, and digits from another file; raises InputError if their numbers differ."""
    content = _read(labels)
    digits = digits_from(_labels(content, labels))
    pixels, notes = _images(_read(images), images)
    if content.starts_with_zero and len(digits) == len(pixels) + 1:
        digits = digits[1:]
        notes += (f"{labels}: a row more than images; its first, 0, was taken for pandas' header",)
    if len(digits) != len(pixels):
        raise InputError(f"{labels}: {len(digits):,} rows, expected {len(pixels):,} as in {images}")
    return ImageData(pixels, digits, notes)


def _images(content: Content, path: Path) -> tuple[NDArray[np.uint8], tuple[str, ...]]:
    if content.pixels is None:
        raise InputError(f"{path}: labels only, expected images of 784 pixels (28x28) a row")
    images, notes = images_from(content.pixels)
    images, turned = upright(images, str(path))
    return images, notes + turned


def _labels(content: Content, path: Path) -> Rows:
    if content.labels is None:
        raise InputError(f"{path}: images only, expected labels")
    return content.labels


def _read(path: Path, part: Part | None = None) -> Content:
    source = str(path)
    with opened(path) as (form, file):
        match form:
            case "table":
                return read_table(file, source)
            case "parquet":
                return read_parquet(path)
            case "zip":
                return read_npz(file, source, part)
            case "idx" | "npy":
                rows = (read_idx if form == "idx" else read_npy)(file, source)
                # Images of another size are refused later, by their shape.
                shape = rows.array.shape
                labels = not is_image_shape(shape) and (len(shape) == 1 or shape[1:] in {(1,), (8,), (10,)})
                return Content(None, rows) if labels else Content(rows, None)
