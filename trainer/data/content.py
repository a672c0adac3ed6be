"""A file's bytes, whatever they are packed in, and what they are by how they begin."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Literal, cast

from trainer.errors import TrainerError

Kind = Literal["idx", "npz", "table"]

_GZIP_MAGIC = b"\x1f\x8b"
_ZIP_MAGIC = b"PK\x03\x04"
_IDX_MAGIC = b"\0\0"


@contextmanager
def opened(path: Path) -> Iterator[tuple[Kind, IO[bytes]]]:
    """Open a file with gzip undone and say what it is.

    Anything that goes wrong while reading in the block, a truncated gzip say, is a TrainerError.
    """
    try:
        with path.open("rb") as raw:
            packed = raw.peek(2).startswith(_GZIP_MAGIC)
            stream = cast("IO[bytes]", gzip.GzipFile(fileobj=raw)) if packed else raw
            head = stream.read(4)
            stream.seek(0)
            yield _kind(path, head), stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TrainerError(f"{path}: damaged gzip: {error}") from error
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror or error}") from error


def _kind(path: Path, head: bytes) -> Kind:
    if not head:
        raise TrainerError(f"{path}: empty file, expected IDX, npz or a table of numbers")
    if head.startswith(_IDX_MAGIC):
        return "idx"
    if head.startswith(_ZIP_MAGIC):
        return "npz"
    if b"\0" in head:
        raise TrainerError(
            f"{path}: begins with bytes {head.hex(' ')}, expected IDX, npz or a table of numbers"
        )
    return "table"
