"""Write a data set in any of the formats that can be read."""

import gzip
from collections.abc import Iterator
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.data.folder import IDX_LAYOUT, TABLE_LAYOUT, Layout
from trainer.data.idx import idx_bytes
from trainer.data.npz import npz_bytes
from trainer.data.table import format_table
from trainer.data.values import DIGITS, PIXELS, SIDE
from trainer.errors import TrainerError

Format = Literal["idx", "idx-gz", "npz", "tsv", "csv"]
FORMATS: tuple[str, ...] = get_args(Format)


def convert(
    dataset: Dataset, folder: Path, form: Format, *, header: bool = False, one_hot: bool = False
) -> list[Path]:
    """Write the data set into a folder and return the files, four or one.

    `header` names the columns of tables, `one_hot` writes their digits as ten columns. Raises TrainerError
    when a file is there already or cannot be written.
    """
    if (header or one_hot) and form not in ("tsv", "csv"):
        raise TrainerError(f"--to {form}: a header and one-hot digits are for tables, expected tsv or csv")
    written: list[Path] = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, content in _files(dataset, form, header=header, one_hot=one_hot):
            _write_new(folder / name, content)
            written.append(folder / name)
    except FileExistsError as error:
        raise TrainerError(f"{error.filename}: is there already, expected a folder without it") from error
    except OSError as error:
        raise TrainerError(f"{error.filename or folder}: cannot write: {error.strerror}") from error
    return written


def _write_new(path: Path, content: bytes) -> None:
    """Write a file that was not there; on a full disk leave no half of it."""
    with path.open("xb") as file:
        try:
            file.write(content)
            file.flush()
        except BaseException:
            path.unlink()
            raise


def _files(dataset: Dataset, form: Format, *, header: bool, one_hot: bool) -> Iterator[tuple[str, bytes]]:
    match form:
        case "idx" | "idx-gz":
            for name, array in _parts(dataset, IDX_LAYOUT):
                content = idx_bytes(array.reshape(-1, SIDE, SIDE) if array.ndim > 1 else array)
                # No time stamp: the same images give the same file.
                yield (name, content) if form == "idx" else (f"{name}.gz", gzip.compress(content, 6, mtime=0))
        case "npz":
            yield "mnist.npz", npz_bytes(dataset)
        case "tsv" | "csv":
            for name, array in _parts(dataset, TABLE_LAYOUT):
                yield f"{name}.{form}", _table(array, "\t" if form == "tsv" else ",", header, one_hot)


def _parts(dataset: Dataset, layout: Layout) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    for part, name in vars(layout).items():
        yield name, getattr(dataset, part).astype(np.uint8)


def _table(array: NDArray[np.uint8], delimiter: str, header: bool, one_hot: bool) -> bytes:
    if array.ndim > 1:
        names = [f"pixel_{i}" for i in range(PIXELS)]
    elif one_hot:
        array, names = np.eye(DIGITS, dtype=np.uint8)[array], [f"digit_{i}" for i in range(DIGITS)]
    else:
        array, names = array[:, None], ["digit"]
    return format_table(array, delimiter, names if header else None)
