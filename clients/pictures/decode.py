"""Decoding of untrusted picture files to shades of grey, with limits."""

import io
import re
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps, UnidentifiedImageError

from clients.data.content import foreign
from clients.errors import InputError

MAX_FILE_BYTES = 64 * 2**20
MAX_PIXELS = 64_000_000
_MIN_JPEG_BYTES = 1000
_TRUNCATED_LOCK = threading.Lock()
_MIN_SHARE = 0.5  # of a truncated JPEG's lines
_HEIF_BRANDS = (b"heic", b"heix", b"mif1", b"msf1", b"hevc")
_SIXTEEN_BITS = {"I", "I;16", "I;16B", "I;16L"}


def load_file(path: Path) -> bytes:
    """Read the bytes of a picture file; raises InputError if it is missing or too large."""
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise InputError(
                f"{path}: {size / 2**20:,.0f} MiB, expected a picture of at most {MAX_FILE_BYTES >> 20} MiB"
            )
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None


def read_bytes(data: bytes, name: str, *, page: int = 1) -> NDArray[np.uint8]:
    """Decode PNG, JPEG, WebP, BMP, TIFF, GIF, ...; uint8 (height, width), 0 is black.

    `page` chooses a picture of a file with several (see `count_pages`). A truncated JPEG is decoded up to its
    last line. Raises InputError if it is not a picture, damaged or too large.
    """
    try:
        return _decoded(data, name, page)
    except UnidentifiedImageError:
        raise InputError(f"{name}: not a picture ({_looks_like(data)}), expected PNG, JPEG, ...") from None
    except Image.DecompressionBombError as error:  # Pillow's own limit
        count = re.search(r"\d+", str(error))
        raise _too_large(name, f"{int(count.group()):,}" if count else "too many") from None
    except InputError:
        raise
    except EOFError:
        raise InputError(f"{name}: no page {page}, the file has {count_pages(data)}") from None
    except (OSError, SyntaxError, ValueError) as error:
        raise InputError(f"{name}: damaged picture ({error})") from None


def count_pages(data: bytes) -> int:
    """Count the pictures in a TIFF or GIF file; 1 for other formats, whose further pictures are previews."""
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as picture:
        return 1 if picture.format == "MPO" else getattr(picture, "n_frames", 1)


def _decoded(data: bytes, name: str, page: int) -> NDArray[np.uint8]:
    # Pillow's warnings are covered by the limits here, or harmless.
    with warnings.catch_warnings(action="ignore"), Image.open(io.BytesIO(data)) as picture:
        if page > 1:
            picture.seek(page - 1)
        _refuse_large(picture, name)
        try:
            picture.load()
        except OSError:
            if picture.format not in {"JPEG", "MPO"} or len(data) < _MIN_JPEG_BYTES:
                raise
            return _truncated_jpeg(data, name)
        return grey(picture, name)


def _truncated_jpeg(data: bytes, name: str) -> NDArray[np.uint8]:
    """Decode a JPEG up to its last complete line; Pillow would fill the rest with grey."""
    with _truncated_allowed(), Image.open(io.BytesIO(data)) as picture:
        shades = grey(picture, name)
    # Missing lines have a single shade.
    rows = np.flatnonzero(np.ptp(shades, axis=1) > 0)
    if len(rows) == 0 or rows[-1] + 1 < _MIN_SHARE * len(shades):
        raise InputError(f"{name}: damaged picture (most of it is missing)")
    return shades[: rows[-1] + 1]


@contextmanager
def _truncated_allowed() -> Iterator[None]:
    # Pillow's switch is global; the lock protects it from other threads.
    with _TRUNCATED_LOCK:
        ImageFile.LOAD_TRUNCATED_IMAGES = True
        try:
            yield
        finally:
            ImageFile.LOAD_TRUNCATED_IMAGES = False


def grey(picture: Image.Image, name: str) -> NDArray[np.uint8]:
    """Convert a PIL image of any mode to shades of grey, upright; uint8 (height, width)."""
    _refuse_large(picture, name)
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


def _refuse_large(picture: Image.Image, name: str) -> None:
    width, height = picture.size
    if width * height > MAX_PIXELS:
        raise _too_large(name, f"{width * height:,}")


def _too_large(name: str, pixels: str) -> InputError:
    return InputError(f"{name}: a picture of {pixels} pixels, expected at most {MAX_PIXELS // 10**6} million")


def _on_paper(grey_and_alpha: NDArray[np.uint8]) -> NDArray[np.uint8]:
    # Transparent areas become paper: white below dark ink, black below light ink.
    values, alpha = (grey_and_alpha[..., n].astype(np.float32) for n in (0, 1))
    opacity = alpha / 255
    ink = (values * opacity).sum() / max(opacity.sum(), 1)
    paper = 255 if ink < 128 else 0  # noqa: PLR2004 - the middle of the scale
    return np.rint(values * opacity + paper * (1 - opacity)).astype(np.uint8)


def _looks_like(data: bytes) -> str:
    if not data:
        return "it is empty"
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return "a HEIC photograph; save it as JPEG, or set the phone's camera to 'Most compatible'"
    if words := foreign(data[:512]):
        return words
    head = data[:64]
    try:
        text = head.decode("utf-8")
    except UnicodeDecodeError:
        return f"starts with {head[:4].hex(' ')}"
    return f"text that starts with {text.split(chr(10))[0][:20]!r}"
