"""Parquet: rows of an encoded picture and a label, as in Hugging Face's MNIST, or a column per pixel."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clients.data.values import PIXELS, SIDE, Rows
from clients.errors import InputError

_ROWS_AT_ONCE = 1024
_IMAGE_NAMES = ("image", "images", "img", "pixels")
_LABEL_NAMES = ("label", "labels", "digit", "class", "target", "y")


def read_parquet(path: Path, count: int | None = None) -> tuple[Rows, Rows | None]:
    """Read the first `count` images, and their labels if there are any; raises InputError."""
    try:
        # Imported here: pyarrow is optional, and takes 0.2 s.
        from pyarrow import ArrowException, ArrowInvalid, parquet  # noqa: PLC0415
    except ImportError:
        raise InputError(
            f"{path}: pyarrow is not installed; in the repository: pip install '.[parquet]'"
        ) from None
    rows: list[dict[str, Any]] = []
    try:
        with parquet.ParquetFile(path) as file:
            names = file.schema_arrow.names
            for batch in file.iter_batches(_ROWS_AT_ONCE if count is None else min(count, _ROWS_AT_ONCE)):
                rows.extend(batch.to_pylist())
                if count is not None and len(rows) >= count:
                    break
    except (ArrowException, ArrowInvalid, OSError) as error:
        raise InputError(f"{path}: damaged Parquet file: {str(error).splitlines()[0]}") from None
    rows = rows[:count]
    if not rows:
        raise InputError(f"{path}: a Parquet file without rows")
    label = next((name for name in names if name.lower() in _LABEL_NAMES), None)
    image = next((name for name in names if name.lower() in _IMAGE_NAMES), None)
    pixel_names = [name for name in names if name != label and not name.startswith("__index")]
    if image is None and len(pixel_names) != PIXELS:
        raise InputError(
            f"{path}: columns {', '.join(names[:5])}, expected image and label, or {PIXELS} pixels"
        )
    if image is None:
        images = np.array([[row[name] for name in pixel_names] for row in rows])
    else:
        images = np.stack([_image(row[image], f"{path}: row {n}") for n, row in enumerate(rows, 1)])
    return Rows(images, str(path)), Rows(np.array([row[label] for row in rows]), str(path)) if label else None


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
