"""Prediction of many images by concurrent calls, in order."""

import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from queue import SimpleQueue

import numpy as np
from numpy.typing import NDArray

from clients.calls import Answers
from clients.wire import Prediction


class Pipeline:
    """Sends images as they arrive, at once while fewer than `calls_in_flight` are in flight.

    There is no timer: images of a slow source are sent alone, those of a fast one gathered up to
    `images_per_call`. `deliver` receives each call's future in the order of the images, and None at the end.
    """

    def __init__(
        self,
        send: Callable[[NDArray[np.uint8]], Answers],
        deliver: Callable[[Answers | None], object],
        *,
        images_per_call: int,
        calls_in_flight: int,
    ) -> None:
        self._send, self._deliver = send, deliver
        self._images_per_call, self._calls_in_flight = images_per_call, calls_in_flight
        self._pending: list[NDArray[np.uint8]] = []
        self._flying: set[Answers] = set()
        self._ending = self._ended = False
        self._lock = threading.RLock()  # a call that fails at once may end while it is sent

    def put(self, images: NDArray[np.uint8]) -> None:
        """Add images, uint8 (k, 784)."""
        with self._lock:
            if not self._ending:
                self._pending.append(images)
                self._fly()

    def end(self, error: BaseException | None = None) -> None:
        """Accept no more images; an `error` of their source follows the last answer."""
        with self._lock:
            if self._ending:
                return
            self._ending, self._error = True, error
            self._fly()

    def cancel(self) -> None:
        """Cancel all calls in flight."""
        with self._lock:
            self._ending = self._ended = True
            self._pending.clear()
            flying = list(self._flying)
        for call in flying:
            call.cancel()

    def _fly(self) -> None:
        while self._pending and len(self._flying) < self._calls_in_flight:
            images = self._take()
            try:
                call = self._send(images)
            except Exception as error:  # noqa: BLE001 - a closed channel; the caller must learn of it
                call = _failed(error)
            self._flying.add(call)
            self._deliver(call)
            call.add_done_callback(self._land)
        if self._ending and not self._pending and not self._ended:
            self._ended = True
            self._deliver(_failed(self._error) if self._error else None)

    def _take(self) -> NDArray[np.uint8]:
        taken, room = [], self._images_per_call
        while self._pending and room:
            part = self._pending.pop(0)
            if len(part) > room:
                self._pending.insert(0, part[room:])
            taken.append(part[:room])
            room -= len(taken[-1])
        return taken[0] if len(taken) == 1 else np.concatenate(taken)

    def _land(self, call: Answers) -> None:
        with self._lock:
            self._flying.discard(call)
            if call.cancelled() or call.exception():  # stop reading after the first failure
                self._pending.clear()
                self._ending = self._ended = True
            self._fly()


def pump(
    source: Iterable[NDArray[np.uint8]],
    send: Callable[[NDArray[np.uint8]], Answers],
    *,
    images_per_call: int,
    calls_in_flight: int,
) -> Iterator[Prediction]:
    """Yield predictions of `source`, read ahead by a thread as far as the calls have room."""
    answers: SimpleQueue[Answers | None] = SimpleQueue()
    pipeline = Pipeline(send, answers.put, images_per_call=images_per_call, calls_in_flight=calls_in_flight)
    room, closed = images_per_call * calls_in_flight, False
    changed = threading.Condition()

    def may_go_on() -> bool:
        return room > 0 or closed

    def read() -> None:
        nonlocal room
        try:
            images = iter(source)
            while True:
                with changed:
                    changed.wait_for(may_go_on)
                if closed or (part := next(images, None)) is None:
                    break
                pipeline.put(part)
                with changed:
                    room -= len(part)
            pipeline.end()
        except BaseException as error:  # noqa: BLE001 - raised where the answers are read
            pipeline.end(error)

    threading.Thread(target=read, daemon=True, name="digits-stream").start()
    try:
        while (call := answers.get()) is not None:
            predictions = call.result()
            yield from predictions
            with changed:
                room += len(predictions)
                changed.notify()
    finally:
        pipeline.cancel()
        with changed:
            closed = True
            changed.notify()


def _failed(error: BaseException) -> Answers:
    call: Answers = Future()
    call.set_exception(error)
    return call
