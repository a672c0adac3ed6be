"""What waits in a batcher's queue, what goes through the model, and what comes out."""

import asyncio
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from server.manifest import IMAGE_BYTES
from server.trace import Trace, current


@dataclass(slots=True)
class Answer:
    """What one call gets: n digits and confidences, probabilities (n, 10), and where its time went."""

    digits: list[int] = field(default_factory=list)
    confidences: list[float] = field(default_factory=list)
    probabilities: list[NDArray[np.float32]] = field(default_factory=list)  # blocks of rows, in order
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0
    batch_images: int = 0


@dataclass(slots=True)
class Call:
    """A call in the queue; times are of the monotonic clock."""

    images: bytes
    count: int
    arrived: float
    deadline: float
    future: asyncio.Future[Answer]
    answer: Answer = field(default_factory=Answer)
    taken: int = 0  # images that are in a batch, or were
    trace: Trace | None = field(default_factory=current.get)


@dataclass(slots=True)
class Slice:
    """A call's images that go into one batch: all of them, unless the call is split."""

    call: Call
    start: int
    count: int

    def images(self) -> bytes | memoryview:
        """Return count x 784 bytes, without a copy."""
        if self.count == self.call.count:
            return self.call.images
        return memoryview(self.call.images)[
            self.start * IMAGE_BYTES : (self.start + self.count) * IMAGE_BYTES
        ]


@dataclass(frozen=True, slots=True)
class Run:
    """One run of the model."""

    images: NDArray[np.uint8]  # (n, 784)
    probabilities: NDArray[np.float32]  # (n, 10)
    started: float
    seconds: float
