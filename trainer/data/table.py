"""Tables of numbers as text: separated by tabs, commas, semicolons or spaces, with or without a header."""

import csv
import io
import itertools
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.values import Values
from trainer.errors import TrainerError

_DELIMITERS = "\t,;"


@dataclass(frozen=True)
class _Dialect:
    delimiter: str | None  # None is any white space
    header_rows: int
    columns: int

    def cells(self, line: str) -> list[str]:
        if self.delimiter is None:
            return line.split()
        return next(csv.reader([line], delimiter=self.delimiter), [])


def parse_table(stream: IO[bytes], source: str) -> Values:
    """Return the numbers in a table, int16 or float32 [n, columns], without its header.

    Raises TrainerError that names the first row which is not a row of numbers, or not as long as the
    first.
    """
    text = io.TextIOWrapper(stream, encoding="utf-8-sig", newline="")
    try:
        dialect = _dialect(text, source)
        array = _numbers(text, dialect)
        if array is None:
            text.seek(0)
            raise _fault(text, dialect, source)
    except UnicodeDecodeError as error:
        raise TrainerError(
            f"{source}: byte {error.start} is no UTF-8 text, expected a table of numbers"
        ) from error
    finally:
        text.detach()
    if len(array) == 0:
        raise TrainerError(f"{source}: a header and no rows, expected a table of numbers")
    return Values(array, source, first_row=1 + dialect.header_rows)


def format_table(array: NDArray[Any], delimiter: str, header: Iterable[str] | None = None) -> bytes:
    """Return the text of a table of whole numbers [n, columns]."""
    # Each number is looked up rather than formatted: 60,000 images are 47 million of them.
    words = np.array([str(value) for value in range(int(array.max()) + 1)], dtype=object)
    lines = [delimiter.join(header)] if header else []
    lines.extend(delimiter.join(words[row]) for row in array)
    return ("\n".join(lines) + "\n").encode("ascii")


def _dialect(text: io.TextIOWrapper, source: str) -> _Dialect:
    first = text.readline()
    text.seek(0)
    if not first.strip():
        raise TrainerError(f"{source}: row 1 is empty, expected numbers")
    delimiter = max(_DELIMITERS, key=first.count)
    spaced = delimiter not in first
    cells = _Dialect(None if spaced else delimiter, 0, 0).cells(first)
    return _Dialect(None if spaced else delimiter, int(_is_header(cells)), len(cells))


def _is_header(cells: list[str]) -> bool:
    """Tell names, or the column numbers 0, 1, 2 ... that pandas writes, from a row of data."""
    if not any(_is_number(cell) for cell in cells):
        return True
    return len(cells) > 1 and cells == [str(column) for column in range(len(cells))]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _numbers(text: io.TextIOWrapper, dialect: _Dialect) -> NDArray[Any] | None:
    """Return the table's numbers, None where it holds something else."""
    # Whole numbers parse fastest; tables that say 255.0 are read all the same.
    for dtype in (np.int16, np.float32):
        text.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                return np.loadtxt(
                    text,
                    dtype,
                    comments=None,
                    delimiter=dialect.delimiter,
                    skiprows=dialect.header_rows,
                    ndmin=2,
                    encoding=None,
                    quotechar='"',
                )
        except UnicodeDecodeError:
            raise
        except ValueError:
            continue
    return None


def _fault(text: io.TextIOWrapper, dialect: _Dialect, source: str) -> TrainerError:
    """Find what keeps the table from being one, reading it row by row as the fast reader does not."""
    for number, line in enumerate(itertools.islice(text, dialect.header_rows, None), 1 + dialect.header_rows):
        cells = dialect.cells(line)
        if not cells:
            continue
        if len(cells) != dialect.columns:
            return TrainerError(
                f"{source}: row {number} has {len(cells)} columns, expected {dialect.columns} as in row 1"
            )
        for column, cell in enumerate(cells, 1):
            if not _is_number(cell):
                place = f"row {number}, column {column}"
                return TrainerError(f"{source}: {place} is {cell[:20]!r}, expected a number")
    return TrainerError(f"{source}: expected a table of numbers")
