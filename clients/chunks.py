"""Cut images into calls of a bounded size."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator

import numpy as np
from numpy.typing import NDArray


class _Chunker:
    """Gather arrays uint8 (k, 784) and give back arrays of exactly `size` images."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._pending: list[NDArray[np.uint8]] = []
        self._held = 0

    def add(self, part: NDArray[np.uint8]) -> Iterator[NDArray[np.uint8]]:
        while self._held + len(part) >= self._size:
            room = self._size - self._held
            yield np.concatenate([*self._pending, part[:room]])
            self._pending, self._held, part = [], 0, part[room:]
        if len(part):
            self._pending.append(part)
            self._held += len(part)

    def rest(self) -> Iterator[NDArray[np.uint8]]:
        if self._pending:
            yield np.concatenate(self._pending)


def cut(parts: Iterable[NDArray[np.uint8]], size: int) -> Iterator[NDArray[np.uint8]]:
    """Regroup arrays uint8 (k, 784) of any k into arrays of `size` images, the last one smaller.

    Lazy: takes no part before the one it yields is full.
    """
    chunker = _Chunker(size)
    for part in parts:
        yield from chunker.add(part)
    yield from chunker.rest()


async def cut_async(parts: AsyncIterable[NDArray[np.uint8]], size: int) -> AsyncIterator[NDArray[np.uint8]]:
    """Do what `cut` does for parts that are awaited."""
    chunker = _Chunker(size)
    async for part in parts:
        for chunk in chunker.add(part):
            yield chunk
    for chunk in chunker.rest():
        yield chunk
