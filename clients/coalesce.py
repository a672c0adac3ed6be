"""Join the images of concurrent callers into fewer, larger calls."""

import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import numpy as np
from numpy.typing import NDArray

from clients.wire import Question

# concurrent.futures.Future and asyncio.Future agree on all that is used here.
F = TypeVar("F", bound=Any)


@dataclass(frozen=True, slots=True)
class _Ask(Generic[F]):
    question: Question
    images: NDArray[np.uint8]
    future: F


class Coalescer(Generic[F]):
    """Send at once while fewer than `calls_in_flight` travel; else gather until one comes back.

    No timer: a lone caller never waits, and under load calls grow up to `images_per_call`.
    Only equal questions share a call. A call that fails, fails for all who shared it.
    """

    def __init__(
        self,
        send: Callable[[Question, NDArray[np.uint8]], F],
        new_future: Callable[[], F],
        *,
        images_per_call: int,
        calls_in_flight: int,
    ) -> None:
        self._send, self._new_future = send, new_future
        self._images_per_call, self._calls_in_flight = images_per_call, calls_in_flight
        self._queue: deque[_Ask[F]] = deque()
        self._flying = 0
        self._lock = threading.Lock()

    def ask(self, question: Question, images: NDArray[np.uint8]) -> F:
        """Return the future of the predictions for `images`, uint8 (n, 784)."""
        future = self._new_future()
        with self._lock:
            self._queue.append(_Ask(question, images, future))
        self._fly()
        return future

    def _fly(self) -> None:
        with self._lock:
            if self._flying == self._calls_in_flight or not (group := self._take()):
                return
            self._flying += 1
        try:
            call = self._send(group[0].question, np.concatenate([ask.images for ask in group]))
        except Exception as error:  # noqa: BLE001 - a closed channel; everybody who waits must be told
            call = self._new_future()
            call.set_exception(error)
        call.add_done_callback(lambda done: self._land(done, group))

    def _take(self) -> list[_Ask[F]]:
        group: list[_Ask[F]] = []
        room = self._images_per_call
        while self._queue:
            ask = self._queue[0]
            if ask.future.cancelled():
                self._queue.popleft()
                continue
            if group and (len(ask.images) > room or ask.question != group[0].question):
                break
            group.append(self._queue.popleft())
            room -= len(ask.images)
        return group

    def _land(self, call: F, group: list[_Ask[F]]) -> None:
        with self._lock:
            self._flying -= 1
        self._fly()
        error = None if call.cancelled() else call.exception()
        start = 0
        for ask in group:
            if call.cancelled():
                ask.future.cancel()
            elif error and _still_wanted(ask.future):
                ask.future.set_exception(error)
            elif _still_wanted(ask.future):
                ask.future.set_result(call.result()[start : start + len(ask.images)])
            start += len(ask.images)


def _still_wanted(future: Any) -> bool:
    # A concurrent future can be cancelled by another thread until it is told that it runs.
    claim = getattr(future, "set_running_or_notify_cancel", None)
    return bool(claim()) if claim else not future.done()
