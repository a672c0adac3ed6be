"""Threads beside the load: one that kills workers and records their memory and open files, and others."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from statistics import median

import psutil

from tests.process import RunningServer


@contextmanager
def every(seconds: float, act: Callable[[], object]) -> Iterator[None]:
    """Call `act` on a thread during a block, with a pause of `seconds` before each call."""
    ended = threading.Event()

    def repeat() -> None:
        while not ended.wait(seconds):
            act()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


class Killer:
    """Kills the oldest worker of a server, or the youngest if `spare` keeps the others alive.

    Before each kill it records the memory and the open files of all processes of the server.
    """

    def __init__(self, server: RunningServer, *, spare: bool = False) -> None:
        self._choose = max if spare else min
        self._server = psutil.Process(server.process.pid)
        self.memory_mb: list[float] = []
        self.open_files: list[int] = []

    def kill(self) -> None:
        """Kill a worker."""
        workers = self._server.children()
        processes = [self._server, *workers]
        self.memory_mb.append(sum(each.memory_info().rss for each in processes) / 1e6)
        self.open_files.append(sum(each.num_fds() for each in processes))
        self._choose(workers, key=psutil.Process.create_time).kill()


def growth(values: list[float] | list[int]) -> float:
    """Return the median of the last third relative to that of the first third, without the first value."""
    kept = values[1:]
    third = max(len(kept) // 3, 1)
    return median(kept[-third:]) / median(kept[:third]) if kept else 1.0
