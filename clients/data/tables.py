"""Text tables: separator, header and label column are recognised by content."""

import csv
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from itertools import dropwhile, islice
from pathlib import Path
from typing import IO, Any, cast

import numpy as np
from numpy.typing import NDArray

from clients.data.content import opened
from clients.data.values import PIXELS, Content, Rows, is_number
from clients.errors import InputError

_SAMPLE_LINES = 200
_LABEL_NAMES = {"label", "labels", "class", "digit", "digits", "target", "y"}
_INDEX_NAMES = {"", "index", "id", "unnamed: 0", "row"}
# The errors of numpy.loadtxt, which counts cells' rows from 0, and others from 1.
_BAD_CELL = re.compile(r"could not convert string '(.*)' to \w+ at row (\d+), column (\d+)", re.DOTALL)
_BAD_ROW = re.compile(r"the number of columns changed from (\d+) to (\d+) at row (\d+)")


@dataclass(frozen=True)
class _Dialect:
    delimiter: str | None  # None: any white space
    quote: str
    header: list[str] | None
    header_lines: int  # with blank lines above the first row
    columns: int


def read_table(file: IO[bytes], source: str) -> Content:
    """Read a table: 784 pixels, labels, or a label beside 784 pixels.

    Raises InputError for the first row that has other cells than numbers or another length, and if the label
    column cannot be told from the pixels.
    """
    try:
        with _text(file) as text:
            dialect = _dialect(text, source)
            array = _parsed(text, dialect, source)
    except UnicodeDecodeError as error:
        raise InputError(
            f"{source}: byte {error.start} is not UTF-8 text, expected a table of numbers"
        ) from None
    if len(array) == 0:
        raise InputError(f"{source}: a header and no rows, expected a table of numbers")
    return _split(Rows(array, source, partial(_line_number, dialect, source)), dialect)


@contextmanager
def _text(file: IO[bytes]) -> Iterator[io.TextIOWrapper]:
    start = file.read(2)
    file.seek(0)
    encoding = "utf-16" if start in {b"\xff\xfe", b"\xfe\xff"} else "utf-8-sig"
    text = io.TextIOWrapper(cast("Any", file), encoding, newline="")
    try:
        yield text
    finally:
        text.detach()


def _line_number(dialect: _Dialect, source: str, index: int) -> int:
    """Return the number of the line with a row of numbers, for an error; blank lines count too."""
    blank = None if dialect.delimiter is None else "\r\n"
    with opened(Path(source)) as (_, file), _text(file) as text:
        lines = (number for number, line in enumerate(text, 1) if line.strip(blank))
        rows = dropwhile(lambda number: number <= dialect.header_lines, lines)
        return next(islice(rows, index, None))


def _dialect(text: io.TextIOWrapper, source: str) -> _Dialect:
    lines = list(islice(text, _SAMPLE_LINES))
    sample = [line for line in lines if line.strip()]
    if not sample:
        raise InputError(f"{source}: only blank lines, expected a table of numbers")
    delimiter = next((mark for mark in "\t;," if mark in sample[0]), None)
    quote = "'" if any("'" in line for line in sample[1:]) else '"'
    first, second = (_cells(line, delimiter) for line in (sample * 2)[:2])
    named = _is_header(first, second if len(sample) > 1 else None)
    header_lines = lines.index(sample[0]) + named
    return _Dialect(delimiter, quote, first if named else None, header_lines, len(first))


def _cells(line: str, delimiter: str | None) -> list[str]:
    if delimiter is None:
        return [cell.strip("\"'") for cell in line.split()]
    cells = next(csv.reader([line.strip("\r\n")], delimiter=delimiter, skipinitialspace=True), [])
    return [cell.strip().strip("'") for cell in cells]


def _is_header(cells: list[str], following: list[str] | None) -> bool:
    """Tell whether a row is a header: names, or the column numbers that pandas writes."""
    numbers = [cell for cell in cells if is_number(cell)]
    if not numbers:
        return True
    names = len(cells) - len(numbers)
    counted = len(numbers) > 1 and any(
        numbers == [str(place) for place in range(start, start + len(numbers))] for start in (0, 1)
    )
    if cells == ["0", "1"]:  # the header of an index and a label
        return following is not None and following[:1] != ["1"]
    # pandas writes an empty cell above its index: `,0` above `0,7`.
    return (counted and names <= 2) or (cells[0] == "" and numbers == ["0"])  # noqa: PLR2004 - an index and a label


def _parsed(text: io.TextIOWrapper, dialect: _Dialect, source: str) -> NDArray[Any]:
    """Parse the numbers of a table; raises InputError for the first row with something else."""
    for dtype in (np.int16, np.float32):  # integers are parsed fastest
        text.seek(0)
        try:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", "loadtxt: input contained no data")
                return np.loadtxt(
                    text,
                    dtype,
                    comments=None,
                    delimiter=dialect.delimiter,
                    skiprows=dialect.header_lines,
                    ndmin=2,
                    encoding=None,
                    quotechar=dialect.quote,
                )
        except UnicodeDecodeError:
            raise
        except ValueError as error:
            problem = str(error)
    if found := _BAD_CELL.match(problem):
        cell, row, column = found[1], _line_number(dialect, source, int(found[2])), found[3]
        place = f"row {row}, column {column}" if dialect.columns > 1 else f"row {row}"
        raise InputError(f"{source}: {place} is '{cell[:20]}', expected a number")
    if found := _BAD_ROW.match(problem):
        columns, other, row = found[1], found[2], _line_number(dialect, source, int(found[3]) - 1)
        raise InputError(f"{source}: row {row} has {other} columns, expected {columns} as in the first row")
    raise InputError(f"{source}: {problem}, expected a table of numbers")


def _split(rows: Rows, dialect: _Dialect) -> Content:
    """Split columns into pixels and labels; a column that counts rows is ignored."""
    array = rows.array
    names = [cell.lower() for cell in dialect.header or []]
    width = array.shape[1]
    counted = len(array) > 1 and bool((np.diff(array[:, 0]) == 1).all()) and array[0, 0] in {0, 1}
    is_named = bool(names) and names[0] in _INDEX_NAMES
    if (is_named and width in {2, 11, PIXELS + 1, PIXELS + 2}) or (counted and width in {2, 11, PIXELS + 2}):
        array, names, counted = array[:, 1:], names[1:], False
    if array.shape[1] in {1, 10}:
        maybe_header = not names and array.shape[1] == 1 and array[0, 0] == 0
        return Content(None, replace(rows, array=array), starts_with_zero=maybe_header)
    if array.shape[1] != PIXELS + 1:
        return Content(replace(rows, array=array), None)
    place = _label_place(array, names, counted=counted, source=rows.source)
    pixels = replace(rows, array=array[:, :-1] if place == -1 else array[:, 1:])
    return Content(pixels, None if place is None else replace(rows, array=array[:, place]))


def _label_place(array: NDArray[Any], names: list[str], *, counted: bool, source: str) -> int | None:
    """Find the column of labels beside 784 pixels: 0, -1, or None if the first column is an index."""
    named = [place for place in (0, -1) if names and names[place] in _LABEL_NAMES]
    if len(named) == 1:
        return named[0]
    # MNIST's corner pixels are 0, so a column of zeros at the other end is not the labels.
    fitting = [place for place in (0, -1) if _may_be_labels(array[:, place])]
    if counted and (len(array) > 10 or not fitting):  # noqa: PLR2004 - beyond the digits it is no label
        return None
    if len(fitting) == 1 and not counted:
        return fitting[0]
    raise InputError(
        f"{source}: {PIXELS + 1} columns, of which the first or the last may be the label; "
        "begin the file with a header such as label,pixel0,pixel1,..."
    )


def _may_be_labels(column: NDArray[Any]) -> bool:
    return bool(np.isin(column, np.arange(10)).all() and column.any())
