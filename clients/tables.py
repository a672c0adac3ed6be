"""Tables of pixels, one image a line, as spreadsheets and Galaxy have them; plain or gzip."""

import gzip
import zlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.errors import InputError
from clients.images import PIXELS

SUFFIXES = (".tsv", ".csv", ".tabular")
_AT_ONCE = 1024
_DIGITS = 10


def read_table(path: Path) -> Iterator[NDArray[np.float64]]:
    """Yield the rows of numbers, (k, columns) with k up to 1,024; a head line is dropped.

    Raises InputError naming the line that is not numbers, or not as long as the first.
    """
    opened = gzip.open if path.suffix == ".gz" else open
    try:
        with opened(path, "rt", encoding="utf-8") as file:
            numbered = ((n, line) for n, line in enumerate(file, 1) if line.strip())
            columns = None
            while lines := list(islice(numbered, _AT_ONCE)):
                if columns is None:
                    columns = len(_cells(lines[0][1]))
                    lines = lines[not _is_row(lines[0][1]) :]
                if lines:
                    yield _parsed(path, lines, columns)
    except UnicodeDecodeError:
        raise InputError(f"{path}: not a table of text") from None
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path}: {getattr(error, 'strerror', None) or error}") from None


def read_images(path: Path) -> Iterator[NDArray[np.uint8]]:
    """Yield images, uint8 (k, 784), from a table of 784 columns; raises InputError."""
    for rows in read_table(path):
        if rows.shape[1] != PIXELS:
            raise InputError(f"{path}: {rows.shape[1]} columns, expected {PIXELS}, one a pixel")
        if rows.min() < 0 or rows.max() > 255:  # noqa: PLR2004 - the largest uint8
            raise InputError(f"{path}: pixels from {rows.min():g} to {rows.max():g}, expected 0 to 255")
        yield rows.astype(np.uint8)


def read_labels(path: Path) -> NDArray[np.uint8]:
    """Read true digits, uint8 (n,), from one column, or from ten of which one is 1."""
    rows = np.concatenate(list(read_table(path)) or [np.empty((0, 1))])
    digits = rows.argmax(axis=1) if rows.shape[1] == _DIGITS else rows[:, 0]
    if rows.shape[1] not in {1, _DIGITS} or not np.isin(digits, np.arange(_DIGITS)).all():
        raise InputError(f"{path}: expected one column of digits 0-9, or ten columns of 0 and 1")
    return digits.astype(np.uint8)


def _cells(line: str) -> list[str]:
    return line.replace(",", "\t").split("\t") if "\t" in line or "," in line else line.split()


def _is_row(line: str) -> bool:
    try:
        [float(cell) for cell in _cells(line)]
    except ValueError:
        return False
    return True


def _parsed(path: Path, lines: list[tuple[int, str]], columns: int) -> NDArray[np.float64]:
    rows = []
    for number, line in lines:
        # fromstring is ten times quicker than float() for each cell.
        row = np.fromstring(line.replace(",", " "), np.float64, sep=" ") if _is_plain(line) else None
        if row is None or len(row) != columns:
            held = "something that is no number" if row is None else f"{len(row)} numbers"
            raise InputError(f"{path}: line {number} has {held}, expected {columns}")
        rows.append(row)
    return np.stack(rows)


def _is_plain(line: str) -> bool:
    return not line.strip("0123456789+-.,eE \t\r\n")
