"""Batching for providers that do not compute on the CPU: batches run on a thread of their own."""

import threading
from collections.abc import Callable
from typing import Any

from server.batching.batcher import Batcher
from server.batching.call_queue import QueuedCall


class ThreadedBatcher(Batcher):
    """A batcher whose own thread runs the batches and sends the replies."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Build the batcher with Batcher's arguments, without `ready`, and start its thread."""
        super().__init__(*arguments, ready=set(), **named)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether calls are answered; false once closed, or if the thread has died."""
        return super().alive and self._thread.is_alive()

    def submit(self, *arguments: Any, **named: Any) -> QueuedCall:
        """Queue images as Batcher does; `reply` is called on the batcher's thread."""
        with self._changed:
            return super().submit(*arguments, **named)

    def hold(self) -> None:
        """Queue calls but run no batch until `release`."""
        with self._changed:
            super().hold()

    def release(self) -> None:
        """Run batches again after `hold`."""
        with self._changed:
            super().release()

    def close(self, released: Callable[[], None] = lambda: None) -> None:
        """Refuse new calls, and call `released` on the batcher's thread when the queue is empty."""
        with self._changed:
            if self._released is None:
                self._released = released
                self._held = False
                self._wake()

    def _wake(self) -> None:
        self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: (self._queue.images and not self._held) or self._released)
                ended = not self._queue.images
                parts = self._take()
            if ended:
                break
            if parts:
                self._compute(parts)
            self._idle = not self._queue.images
        self._release()
