"""Picture files, which strangers send: decoded with limits, into shades of grey."""

import io
import re
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from clients.errors import InputError

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
_SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L"}


def read_file(path: Path) -> NDArray[np.uint8]:
    """Decode the picture in a file; see `read_bytes`."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: {size / 2**20:,.0f} MiB, expected a picture of at most {MAX_FILE_BYTES >> 20} MiB"
            )
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
    return read_bytes(data, str(path))


def read_bytes(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode PNG, JPEG, WebP, BMP, TIFF, GIF, ...; uint8 (height, width), 0 is black.

    Raises InputError where it is no picture, damaged, animated or too large.
    """
    try:
        # Pillow warns of much that we refuse by our own limits or can live with.
        with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as picture:
            return grey(picture, name)
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture ({_looks_like(data)}), expected PNG, JPEG, ...") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit comes before ours
        count = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(count.group()):,}" if count else "too many") from None
    except InputError:
        raise
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name}: damaged picture ({error})") from None


def grey(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Reduce a PIL image of any mode to shades of grey, upright; uint8 (height, width)."""
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width * height:,}")
    frames = getattr(picture, "n_frames", 1)
    if frames > 1:
        raise InputError(f"{name}: {frames} frames or pages, expected a single picture")
    picture = ImageOps.exif_transpose(picture)
    if picture.mode in _SIXTEEN_BITS:
        values = np.asarray(picture, np.int64)
        return (values >> 8 if values.max() > 255 else values).clip(0, 255).astype(np.uint8)  # noqa: PLR2004 - uint8's largest
    if picture.mode == "F":
        scaled = np.asarray(picture) * (255 if np.asarray(picture).max() <= 1 else 1)
        return np.asarray(scaled.clip(0, 255), np.uint8)
    if picture.has_transparency_data:
        return _on_paper(np.asarray(picture.convert("RGBA").convert("LA")))
    return np.asarray(picture.convert("L"))


def _too_large(name: str, pixels: str) -> InputError:
    return InputError(f"{name}: a picture of {pixels} pixels, expected at most {MAX_PIXELS // 10**6} million")


def _on_paper(grey_and_alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # What is transparent shows the paper: white under dark ink, black under light ink.
    values, alpha = (grey_and_alpha[..., n].astype(np.float32) for n in (0, 1))
    opacity = alpha / 255
    ink = (values * opacity).sum() / max(opacity.sum(), 1)
    paper = 255 if ink < 128 else 0  # noqa: PLR2004 - the middle of the scale
    return np.rint(values * opacity + paper * (1 - opacity)).astype(np.uint8)


def _looks_like(data: bytes) -> str:
    if not data:
        return "it is empty"
    head = data[:64]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return f"starts with {head[:4].hex(' ')}"
    return f"text that starts with {text.split(chr(10))[0][:20]!r}"
