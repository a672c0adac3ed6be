"""Where the command line takes its images from."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from clients.client import Client
from clients.errors import InputError
from clients.idx import read_images
from clients.images import pixels
from clients.prediction import Prediction


@dataclass(frozen=True, slots=True)
class Item:
    """Hold one image, uint8 (1, 784), and where it is from; `index` where its file holds many."""

    file: str
    index: int | None
    image: NDArray[np.uint8]

    @property
    def name(self) -> str:
        """Name the image for a person."""
        return self.file if self.index is None else f"{self.file}[{self.index}]"


def from_pictures(files: Sequence[str], problems: list[str]) -> Iterator[Item]:
    """Read picture files; what cannot be read becomes one line in `problems`."""
    for file in files:
        try:
            yield Item(file, None, pixels(Path(file)))
        except InputError as error:
            problems.append(str(error))


def from_idx(path: Path, count: int | None) -> Iterator[Item]:
    """Read the first `count` images of an IDX file."""
    index = 0
    for images in read_images(path, count=count):
        for image in images:
            yield Item(str(path), index, image)
            index += 1


def answered(client: Client, items: Iterable[Item], *, model: str) -> Iterator[tuple[Item, Prediction]]:
    """Pair each item with its prediction as answers arrive; memory stays constant."""
    asked: deque[Item] = deque()

    def images() -> Iterator[NDArray[np.uint8]]:
        for item in items:
            asked.append(item)
            yield item.image

    for prediction in client.stream(images(), model=model):
        yield asked.popleft(), prediction
