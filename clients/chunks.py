"""Cut images into calls of a bounded size."""

from collections.abc import Iterable, Iterator

import numpy as np
from numpy.typing import NDArray

from clients.images import PIXELS


def cut(parts: Iterable[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    """Regroup arrays uint8 (k, 784) of any k into arrays of `size` images, the last one smaller.

    Lazy: takes no part before the one it yields is full.
    """
    pending: list[NDArray[np.uint8]] = []
    held = 0
    for part in parts:
        rest = part
        while held + len(rest) >= size:
            room = size - held
            yield np.concatenate([*pending, rest[:room]]) if pending else rest[:room]
            pending, held, rest = [], 0, rest[room:]
        if len(rest):
            pending.append(rest)
            held += len(rest)
    if pending:
        yield np.concatenate(pending).reshape(-1, PIXELS)
