"""Parquet: rows of an encoded picture and a label, as in Hugging Face's MNIST, or a column per pixel."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.values import PIXELS, SIDE, Content, Rows
from clients.errors import InputError

_ROWS_AT_ONCE = 1024
_IMAGE_NAMES = ("image", "images", "img", "pixels")
_LABEL_NAMES = ("label", "labels", "digit", "class", "target", "y")


def read_parquet(path: Path) -> Content:
    """Read images, and their labels if there are any; raises InputError."""
    try:
        # Imported here: pyarrow is optional, and takes 0.2 s.
        from pyarrow import ArrowException, parquet  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"{path}: pyarrow is not installed; in the repository: pip install '.[parquet]'"
        ) from None
    try:
        with parquet.ParquetFile(path) as file:
            table = file.read()
    except (ArrowException, OSError) as error:
        raise InputError(f"{path}: damaged Parquet file: {str(error).splitlines()[0]}") from None
    names = table.column_names
    if not len(table):
        raise InputError(f"{path}: a Parquet file without rows")
    label = next((name for name in names if name.lower() in _LABEL_NAMES), None)
    image = next((name for name in names if name.lower() in _IMAGE_NAMES), None)
    if image:
        cells = table[image].to_pylist()
        images = np.stack([_image(cell, f"{path}: row {n}") for n, cell in enumerate(cells, 1)])
    else:
        pixels = [name for name in names if name != label and not name.startswith("__index")]
        if len(pixels) != PIXELS:
            raise InputError(
                f"{path}: columns {', '.join(names[:5])}, expected image and label, or {PIXELS} pixels"
            )
        images = np.column_stack([table[name] for name in pixels])
    labels = Rows(np.array(table[label]), str(path)) if label else None
    return Content(Rows(images, str(path)), labels)


def _image(cell: Any, name: str) -> NDArray[Any]:
    if isinstance(cell, dict):
        cell = cell.get("bytes")
    if isinstance(cell, list):
        array = np.array(cell)
    elif isinstance(cell, bytes):
        from PIL import Image  # noqa: PLC0415 - the trainer's other formats need no Pillow

        try:
            array = np.asarray(Image.open(io.BytesIO(cell)).convert("L"))
        except (OSError, ValueError, SyntaxError) as error:
            raise InputError(f"{name}: its image is damaged ({error})") from None
    else:
        raise InputError(f"{name} has no image bytes, expected a PNG file")
    if array.size != PIXELS:
        raise InputError(f"{name} is an image of shape {array.shape}, expected ({SIDE}, {SIDE})")
    return array.reshape(PIXELS)
