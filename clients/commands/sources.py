"""The images of `predict`."""

import glob
import sys
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
from cyclopts import Parameter, validators
from numpy.typing import NDArray
from PIL import Image

from clients.client import Client
from clients.commands.options import OUTPUT, Output
from clients.data import is_data_file, read
from clients.errors import InputError
from clients.images import pixels
from clients.pictures.decode import MAX_FILE_BYTES, count_pages, load_file, read_bytes
from clients.pictures.segmentation import find_main, find_row
from clients.wire import Options, Prediction

STDIN = "-"


@dataclass(frozen=True, slots=True)
class Item:
    """One image, uint8 (784,), and its origin.

    `index` is its position in a file of many images; `box` (left, top, right, bottom) its position in a
    picture of several digits; `steps` describe its preparation.
    """

    file: str
    image: NDArray[np.uint8]
    index: int | None = None
    box: tuple[int, int, int, int] | None = None
    steps: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """Name of the image for people."""
        return self.file if self.index is None else f"{self.file}[{self.index}]"


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class PredictOptions:
    """Files to read and how to print the answers."""

    count: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Stop after this many images."""
    several: bool = False
    """Read every digit in each picture, as a number."""
    raw: bool = False
    """Do not look for the digit: scale each whole picture to 28x28, white on black."""
    page: Annotated[int | None, Parameter(validator=validators.Number(gte=1))] = None
    """Read this page of TIFF and GIF files, 1 is the first."""
    output: Annotated[Output, OUTPUT] = "table"
    """Format of the answers; json is one object a line."""
    show: bool = False
    """Draw the 28x28 image beside each answer."""
    explain: bool = False
    """Also show all ten probabilities and how the image was prepared."""


def expand(files: Sequence[str]) -> list[str]:
    """Replace folders by their files, and expand patterns.

    Raises InputError if a folder or a pattern is empty.
    """
    expanded: list[str] = []
    for file in files:
        found = [file]
        if Path(file).is_dir():
            within = sorted(Path(file).rglob("*"))
            found = [str(path) for path in within if path.is_file() and not path.name.startswith(".")]
        elif glob.has_magic(file) and not Path(file).exists():
            # Path.glob accepts only relative patterns.
            found = sorted(glob.glob(file, recursive=True))  # noqa: PTH207
        if not found:
            raise InputError(f"{file}: no files there, expected pictures")
        expanded.extend(found)
    return expanded


def read_all(
    files: Sequence[str], options: PredictOptions, problems: list[str], notes: list[str]
) -> Iterator[Item]:
    """Read pictures and files of many images; errors are added to `problems`, warnings to `notes`."""
    for file in files:
        try:
            if file != STDIN and is_data_file(Path(file)):
                data = read(Path(file)).first(options.count)
                notes.extend(data.notes)
                yield from (Item(file, image, index) for index, image in enumerate(data.images))
            else:
                yield from _read_picture(file, options, notes)
        except InputError as error:
            problems.append(str(error))


def answered(client: Client, items: Iterable[Item], options: Options) -> Iterator[tuple[Item, Prediction]]:
    """Yield each item with its prediction as answers arrive, in constant memory."""
    asked: deque[Item] = deque()

    def images() -> Iterator[NDArray[np.uint8]]:
        for item in items:
            asked.append(item)
            yield item.image

    for prediction in client.stream(images(), **options):
        yield asked.popleft(), prediction


def _read_picture(file: str, options: PredictOptions, notes: list[str]) -> Iterator[Item]:
    data = sys.stdin.buffer.read(MAX_FILE_BYTES) if file == STDIN else load_file(Path(file))
    grey = read_bytes(data, file, page=options.page or 1)
    if options.page is None and (pages := count_pages(data)) > 1:
        notes.append(f"{file}: {pages} pages, the first is predicted; --page chooses another")
    if options.raw:
        image = pixels(Image.fromarray(grey), raw=True)[0]
        yield Item(file, image, steps=("scaled to 28x28 as a whole",))
    elif options.several:
        for index, digit in enumerate(find_row(grey, file)):
            yield Item(file, digit.image.reshape(-1), index, digit.box, digit.steps)
    else:
        digit, found = find_main(grey, file)
        if found > 1:
            notes.append(
                f"{file}: {found} digits found, the largest is predicted; --several reads all of them"
            )
        yield Item(file, digit.image.reshape(-1), steps=digit.steps)
