"""The calls that wait for a model, and their order."""

import math
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.errors import ServingError
from server.observability.tracing import CallTrace

# Under overload, the oldest call goes first only if it has more time left than this.
IMPATIENT_SECONDS = 1.0


@dataclass(slots=True)
class Answer:
    """The result of a call: n digits and confidences, probabilities (n, 10), queue and compute durations."""

    digits: list[int]
    confidences: list[float]
    blocks: list[
        tuple[NDArray[np.float32], int, int]
    ]  # arrays of rows with their first and last index, in order
    queue_seconds: float
    compute_seconds: float
    batch_images: int

    @property
    def probabilities(self) -> NDArray[np.float32]:
        """Probabilities (n, 10)."""
        return np.concatenate([rows[start:stop] for rows, start, stop in self.blocks])


Reply = Callable[[Answer | ServingError], None]


@dataclass(slots=True, eq=False)
class QueuedCall:
    """A call in the queue; times are monotonic seconds."""

    images: bytes | memoryview
    count: int
    arrived: float
    deadline: float
    reply: Reply
    trace: CallTrace | None = None
    cancelled: bool = False
    answered: bool = False
    taken: int = 0  # images already taken into batches
    answer: Answer | None = None  # summed over the images so far

    def finish(self, outcome: Answer | ServingError) -> None:
        """Send the caller its answer or error, once."""
        if not self.answered:
            self.answered = True
            self.reply(outcome)


class CallQueue:
    """Calls in order of arrival, counted in images.

    First in, first out, unless overloaded: that would answer every call too late, so the newest call goes
    first. The oldest still goes first if it has time left, so a call without a deadline never starves.
    """

    def __init__(self) -> None:
        self.images = 0
        self._calls: deque[QueuedCall] = deque()
        self._begun: QueuedCall | None = None  # a split call is completed before another begins

    def __len__(self) -> int:
        return len(self._calls) + (self._begun is not None)

    @property
    def oldest_arrival(self) -> float:
        """When the oldest call arrived; infinity if the queue is empty. May be read from any thread."""
        first = self._begun
        try:
            return first.arrived if first is not None else self._calls[0].arrived
        except IndexError:
            return math.inf

    def add(self, call: QueuedCall) -> None:
        """Queue a call."""
        self._calls.append(call)
        self.images += call.count

    def discard(self, call: QueuedCall) -> None:
        """Stop counting the remaining images of a call that was removed from the queue."""
        self.images -= call.count - call.taken

    def take(self, call: QueuedCall, room: int) -> int:
        """Take up to `room` images of the call from `next`; return the first's index. The rest comes next."""
        start = call.taken
        call.taken = min(start + room, call.count)
        self.images -= call.taken - start
        if call.taken < call.count:
            self._begun = call
        return start

    def next(self, now: float, *, newest: bool) -> QueuedCall | None:
        """Remove and return the next call; with `newest`, the newest unless the oldest has time left."""
        call = self._begun
        if call is not None:
            self._begun = None
            return call
        if not self._calls:
            return None
        if newest and self._calls[0].deadline < now + IMPATIENT_SECONDS:
            return self._calls.pop()
        return self._calls.popleft()

    def dead(self, limit: float) -> QueuedCall | None:
        """Remove and return the oldest call if it is cancelled, or its deadline is `limit` or before."""
        calls = self._calls
        if calls and (calls[0].cancelled or calls[0].deadline <= limit):
            return calls.popleft()
        return None
