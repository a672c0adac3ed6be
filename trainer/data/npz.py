"""mnist.npz, as Keras ships MNIST: four arrays in a zip."""

import io
import zipfile
import zlib
from typing import IO

import numpy as np

from trainer.data.dataset import Dataset
from trainer.data.values import Values, pair
from trainer.errors import TrainerError

_NAMES = ("x_train", "y_train", "x_test", "y_test")


def parse_npz(stream: IO[bytes], source: str, name: str) -> Dataset:
    """Return the data set in an npz file. Raises TrainerError."""
    try:
        with np.load(stream, allow_pickle=False) as archive:
            missing = [key for key in _NAMES if key not in archive]
            if missing:
                there = ", ".join(archive) or "nothing"
                raise TrainerError(f"{source}: holds {there}, expected the arrays {', '.join(_NAMES)}")
            x_train, y_train, x_test, y_test = (Values(archive[key], f"{source}[{key}]") for key in _NAMES)
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError) as error:
        raise TrainerError(f"{source}: damaged npz: {error}") from error
    return Dataset(name, *pair(x_train, y_train), *pair(x_test, y_test))


def npz_bytes(dataset: Dataset) -> bytes:
    """Return the content of an npz file that holds the data set, images as [n, 28, 28]."""
    content = io.BytesIO()
    np.savez_compressed(
        content,
        x_train=dataset.x_train.reshape(-1, 28, 28),
        y_train=dataset.y_train.astype(np.uint8),
        x_test=dataset.x_test.reshape(-1, 28, 28),
        y_test=dataset.y_test.astype(np.uint8),
    )
    return content.getvalue()
