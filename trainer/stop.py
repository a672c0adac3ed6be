"""A request to stop, as Kubernetes makes it before it takes a node away."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(Exception):  # noqa: N818  # a request that was granted, not an error
    """Training stopped when asked to; its checkpoint is written."""


@contextmanager
def stop_on_sigterm() -> Iterator[threading.Event]:
    """Give an event that the first SIGTERM sets; the second one ends the process as usual."""
    wanted = threading.Event()

    def request(_signal: int, _frame: FrameType | None) -> None:
        wanted.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    if threading.current_thread() is not threading.main_thread():
        yield wanted
        return
    before = signal.signal(signal.SIGTERM, request)
    try:
        yield wanted
    finally:
        signal.signal(signal.SIGTERM, before)
