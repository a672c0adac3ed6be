"""Captured images, labelled with `digit-client label`: DIR/0 to DIR/9, 28x28 gray PNG."""

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from trainer.data.dataset import DIGITS, PIXELS, SIDE, Split, digest
from trainer.errors import TrainerError
from trainer.export.predictor import Predictor

UNLABELLED = "unlabelled"
# One in this many images is for evaluation.
HELD_SHARE = 10


@dataclass(frozen=True, eq=False)
class Captured:
    """Captured images uint8 [n, 784] and digits int64 [n], for training and for evaluation."""

    x_train: NDArray[np.uint8]
    y_train: NDArray[np.int64]
    x_held: NDArray[np.uint8]
    y_held: NDArray[np.int64]
    waiting: int

    @cached_property
    def sha256(self) -> str:
        """SHA-256 of all images and their digits."""
        return digest(self.x_train, self.y_train, self.x_held, self.y_held)

    def join(self, split: Split) -> Split:
        """Return a split with the captured images appended to the training images."""
        return Split(
            np.concatenate([split.x_train, self.x_train]),
            np.concatenate([split.y_train, self.y_train]),
            split.x_validation,
            split.y_validation,
        )

    @property
    def described(self) -> str:
        """Numbers of images as text."""
        held = f"{len(self.y_held):,} held apart" if len(self.y_held) else "too few to hold any apart"
        waiting = f"; {self.waiting:,} wait for a label" if self.waiting else ""
        return f"{len(self.y_train):,} captured images among the training images, {held}{waiting}"

    def measure(self, predict: Predictor) -> dict[str, Any]:
        """Return the manifest's entry: digest, counts, accuracy on the evaluation images."""
        predicted = predict(self.x_held).argmax(axis=1) if len(self.y_held) else self.y_held
        return {
            "sha256": self.sha256,
            "train_images": len(self.y_train),
            "test_images": len(self.y_held),
            "right": int((predicted == self.y_held).sum()),
        }


def load_captured(folder: Path) -> Captured:
    """Read the labelled images below a folder; the digest of a name decides its part.

    With fewer than HELD_SHARE images, all are for training. Raises TrainerError for the first invalid file.
    """
    paths = [path for digit in range(DIGITS) for path in sorted((folder / str(digit)).glob("[!.]*.png"))]
    if not paths:
        raise TrainerError(
            f"--extra {folder}: no labelled images, expected PNG files in its folders 0 to 9; "
            "`digit-client label` makes them"
        )
    images = np.stack([_pixels(path) for path in paths])
    digits = np.array([int(path.parent.name) for path in paths], np.int64)
    held = np.array([_is_held(path) for path in paths]) & (len(paths) >= HELD_SHARE)
    waiting = len(list((folder / UNLABELLED).glob("[!.]*.png")))
    return Captured(images[~held], digits[~held], images[held], digits[held], waiting)


def _is_held(path: Path) -> bool:
    return hashlib.sha256(path.name.encode()).digest()[0] % HELD_SHARE == 0


def _pixels(path: Path) -> NDArray[np.uint8]:
    try:
        with Image.open(path) as picture:
            if (picture.mode, picture.size) != ("L", (SIDE, SIDE)):
                size = "x".join(map(str, picture.size))
                raise TrainerError(
                    f"{path}: {size} pixels, mode {picture.mode}, expected 28x28, mode L (gray)"
                )
            return np.asarray(picture).reshape(PIXELS)
    except OSError as error:
        raise TrainerError(f"{path}: not a picture that can be read: {error}") from error
