"""Opening of data files: gzip, and formats recognised by their first bytes."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

from clients.errors import InputError

Format = Literal["idx", "npy", "zip", "parquet", "table"]
_Seen = Format | Literal["picture"] | None

EXPECTED = "IDX, .npy, .npz, Parquet or a table of numbers"
_HEAD_BYTES = 512
_FORMATS: tuple[tuple[bytes, _Seen], ...] = (
    (b"\0\0", "idx"),
    (b"\x93NUMPY", "npy"),
    (b"PK\x03\x04", "zip"),
    (b"PAR1", "parquet"),
    (b"\x89PNG", "picture"),
    (b"\xff\xd8\xff", "picture"),  # JPEG
    (b"GIF8", "picture"),
    (b"BM", "picture"),
    (b"II*\0", "picture"),  # TIFF
    (b"MM\0*", "picture"),
    (b"RIFF", "picture"),  # WebP
)
# First bytes of other formats, in lower case, and what to do with such a file.
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer; fetch the file itself with `git lfs pull`"),
    (b"<!doctype html", "a web page; download the file itself"),
    (b"<html", "a web page; download the file itself"),
    (b"<svg", "an SVG drawing; export it as PNG"),
    (b"%pdf", "a PDF document; export its page as PNG"),
    (b"<?xml", "an XML document, an SVG drawing (export it as PNG) or a server's error"),
    (
        b"matlab 5.0 mat-file",
        "a MATLAB file; read it with scipy.io.loadmat, save its arrays with numpy.savez",
    ),
    (b"\x89hdf", "an HDF5 file (MATLAB 7.3, Keras); read it with h5py and save its arrays with numpy.savez"),
    (b"\x80", "a Python pickle, which could run code; save its arrays with numpy.savez"),
    (b"bzh", "a bzip2 file; unpack it with bunzip2"),
    (b"\xfd7zxz", "an xz file; unpack it with unxz"),
    (b"7z\xbc\xaf", "a 7-Zip archive; unpack it and give a file in it"),
    (b"(\xb5/\xfd", "a Zstandard file; unpack it with unzstd"),
    (b"arrow1", "an Arrow file; save it as Parquet"),
    (b"sqlite", "an SQLite database; save the table as CSV"),
    (b"@relation", "an ARFF file; download the data set as CSV or Parquet"),
    (b"{", "JSON; save its numbers as a table"),
    (b"[", "JSON; save its numbers as a table"),
)
_TAR_MAGIC = slice(257, 262)
_PICTURE_SUFFIXES = {".png", ".jpg", ".jpeg", ".gif", ".bmp", ".tif", ".tiff", ".webp"}


def is_data_file(path: Path) -> bool:
    """Tell by its first (decompressed) bytes whether a file has many images rather than a picture.

    Any text may be a table, unless the file has the name of a picture. Raises InputError.
    """
    with _unpacked(path) as (_, head):
        form = _format(head)
    if form == "table":
        return path.suffix.lower() not in _PICTURE_SUFFIXES
    return form not in {None, "picture"}


@contextmanager
def opened(path: Path) -> Iterator[tuple[Format, IO[bytes]]]:
    """Open a data file, decompressed.

    Raises InputError if it has another format, and for errors while reading inside the block.
    """
    with _unpacked(path) as (stream, head):
        form = _format(head)
        if form is None or form == "picture":
            raise InputError(f"{path}: {_description(head, form)}")
        yield form, stream


@contextmanager
def _unpacked(path: Path) -> Iterator[tuple[IO[bytes], bytes]]:
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2).startswith(b"\x1f\x8b")
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
            head = stream.read(_HEAD_BYTES)
            stream.seek(0)
            yield stream, head
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{path}: damaged gzip: {error}") from None
    except OSError as error:
        raise InputError(f"{path}: {error.strerror or error}") from None


def _format(head: bytes) -> _Seen:
    for magic, form in _FORMATS:
        if head.startswith(magic):
            return form
    if head[4:8] == b"ftyp":  # HEIC, AVIF
        return "picture"
    is_utf16 = head.startswith((b"\xff\xfe", b"\xfe\xff"))
    if not head or foreign(head) or (b"\0" in head and not is_utf16):
        return None
    return "table"


def _description(head: bytes, form: _Seen) -> str:
    if form == "picture":
        return f"a picture, expected {EXPECTED}"
    if not head:
        return f"empty file, expected {EXPECTED}"
    return foreign(head) or f"begins with bytes {head[:4].hex(' ')}, expected {EXPECTED}"


def foreign(head: bytes) -> str | None:
    """Describe a file of a format that nothing here reads, by its first bytes; None for other files."""
    if head[_TAR_MAGIC] == b"ustar":
        return "a tar archive; unpack it and give a file or folder in it"
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    return next((words for magic, words in _FOREIGN if start.startswith(magic)), None)
