"""What is in a data set: counts for reading, pictures for looking."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.data.values import DIGITS, SIDE
from trainer.errors import TrainerError

_WHITE = 255
_SHEET_COLUMNS = 24
_GAP_PIXELS = 4
_SHEET_SCALE = 2
_ROW_OF_DIGITS = 5


@dataclass(frozen=True)
class Part:
    """Facts about the training or the test images; `digits` counts each of 0-9."""

    images: int
    digits: tuple[int, ...]
    ink: float  # mean pixel as a share of white
    blank_images: int
    repeated_images: int


@dataclass(frozen=True)
class Description:
    """Facts about a data set; `shared_images` counts test images that are also training images."""

    name: str
    sha256: str
    train: Part
    test: Part
    shared_images: int


def describe(dataset: Dataset) -> Description:
    """Count what is in the data set."""
    train_rows, test_rows = _rows(dataset.x_train), _rows(dataset.x_test)
    different = set(train_rows)
    return Description(
        dataset.name,
        dataset.sha256,
        _part(dataset.x_train, dataset.y_train, len(different)),
        _part(dataset.x_test, dataset.y_test, len(set(test_rows))),
        sum(row in different for row in test_rows),
    )


def _rows(images: NDArray[np.uint8]) -> list[bytes]:
    return [row.tobytes() for row in images]


def _part(images: NDArray[np.uint8], digits: NDArray[np.int64], different: int) -> Part:
    return Part(
        images=len(images),
        digits=tuple(np.bincount(digits, minlength=DIGITS).tolist()),
        ink=float(images.mean()) / _WHITE,
        blank_images=int((~images.any(axis=1)).sum()),
        repeated_images=len(images) - different,
    )


def description_text(description: Description) -> str:
    """Return the facts as lines for a terminal."""
    train, test = description.train, description.test

    def line(what: str, of_train: str, of_test: str) -> str:
        return f"{what:<16}{of_train:>17}{of_test:>17}"

    def count(part: Part, digit: int) -> str:
        return f"{part.digits[digit]:,} {part.digits[digit] / part.images:7.1%}"

    return "\n".join(
        [
            f"name    {description.name}",
            f"sha256  {description.sha256}",
            "",
            line("", "training", "test"),
            line("images", f"{train.images:,}", f"{test.images:,}"),
            line("shape, dtype", "28x28 uint8", "28x28 uint8"),
            *(line(f"digit {digit}", count(train, digit), count(test, digit)) for digit in range(DIGITS)),
            line("mean ink", f"{train.ink:.1%}", f"{test.ink:.1%}"),
            line("blank images", f"{train.blank_images:,}", f"{test.blank_images:,}"),
            line("repeated images", f"{train.repeated_images:,}", f"{test.repeated_images:,}"),
            line("also in training", "", f"{description.shared_images:,}"),
        ]
    )


def sketch(dataset: Dataset) -> str:
    """Return a picture in text of the first training image of each digit, two rows of five."""
    # Two by two pixels become one, and half blocks show two of those a character: 14 x 7 a digit.
    tiles = [_half_blocks(image) for image in _first_of_each(dataset.x_train, dataset.y_train, 1)]
    blocks = [tiles[start : start + _ROW_OF_DIGITS] for start in range(0, len(tiles), _ROW_OF_DIGITS)]
    return "\n".join(" ".join(parts).rstrip() for block in blocks for parts in zip(*block, strict=True))


def _half_blocks(image: NDArray[np.uint8]) -> list[str]:
    small = image.reshape(SIDE // 2, 2, SIDE // 2, 2).mean(axis=(1, 3)) > _WHITE / 4
    marks = {(False, False): " ", (True, False): "▀", (False, True): "▄", (True, True): "█"}
    return [
        "".join(marks[bool(a), bool(b)] for a, b in zip(*pair, strict=True))
        for pair in zip(small[::2], small[1::2], strict=True)
    ]


def _first_of_each(images: NDArray[np.uint8], digits: NDArray[np.int64], count: int) -> NDArray[np.uint8]:
    """Return uint8 [10 * count, 28, 28]: the first images of 0, then of 1 ...; blank where there are fewer."""
    chosen = np.zeros((DIGITS, count, SIDE, SIDE), np.uint8)
    for digit in range(DIGITS):
        own = images[np.flatnonzero(digits == digit)[:count]]
        chosen[digit, : len(own)] = own.reshape(-1, SIDE, SIDE)
    return chosen.reshape(-1, SIDE, SIDE)


def save_picture(path: Path, dataset: Dataset) -> None:
    """Write a sheet of training images, a row a digit, dark on white. Raises TrainerError."""
    from PIL import Image  # noqa: PLC0415  # only for those who ask for the picture

    tiles = _first_of_each(dataset.x_train, dataset.y_train, _SHEET_COLUMNS)
    step = SIDE + _GAP_PIXELS
    sheet = np.zeros((DIGITS * step + _GAP_PIXELS, _SHEET_COLUMNS * step + _GAP_PIXELS), np.uint8)
    for index, tile in enumerate(tiles):
        row, column = divmod(index, _SHEET_COLUMNS)
        top, left = row * step + _GAP_PIXELS, column * step + _GAP_PIXELS
        sheet[top : top + SIDE, left : left + SIDE] = tile
    picture = Image.fromarray(_WHITE - sheet)
    size = (picture.width * _SHEET_SCALE, picture.height * _SHEET_SCALE)
    try:
        picture.resize(size, Image.Resampling.BICUBIC).save(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrainerError(f"{path}: cannot write the picture: {reason}") from error
