"""Batches of a provider that computes elsewhere, such as a GPU: they run beside the data plane."""

import threading
from collections.abc import Callable
from typing import Any

from server.batching.batcher import Batcher
from server.batching.call_queue import QueuedCall


class ThreadedBatcher(Batcher):
    """A batcher with a thread of its own, which runs the batches and sends the replies."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        """Take what Batcher takes but for `ready`, and start the thread."""
        super().__init__(*arguments, ready=set(), **named)
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._work, name="batcher", daemon=True)
        self._thread.start()

    @property
    def alive(self) -> bool:
        """Whether calls get answers; false once closed, or after a defect."""
        return super().alive and self._thread.is_alive()

    def submit(self, *arguments: Any, **named: Any) -> QueuedCall:
        """Queue images as Batcher does; the reply is called on the batcher's thread."""
        with self._changed:
            return super().submit(*arguments, **named)

    def hold(self) -> None:
        """Queue calls, and run no batch until released."""
        with self._changed:
            super().hold()

    def release(self) -> None:
        """Run batches again."""
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
