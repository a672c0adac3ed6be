"""Kills workers of a server, and records its memory and open files."""

import threading
from statistics import median

import psutil

from tests.process import RunningServer


class Killer(threading.Thread):
    """Kills a worker every `seconds`: the oldest, or the youngest if `spare` keeps the others alive.

    Before each kill it records the memory and the open files of all processes of the server.
    """

    def __init__(self, server: RunningServer, seconds: float, *, spare: bool = False) -> None:
        super().__init__(daemon=True)
        self._choose = max if spare else min
        self._server = psutil.Process(server.process.pid)
        self._seconds = seconds
        self._end = threading.Event()
        self.memory_mb: list[float] = []
        self.open_files: list[int] = []

    def run(self) -> None:
        """Run until stopped."""
        while not self._end.wait(self._seconds):
            workers = self._server.children()
            processes = [self._server, *workers]
            self.memory_mb.append(sum(each.memory_info().rss for each in processes) / 1e6)
            self.open_files.append(sum(each.num_fds() for each in processes))
            self._choose(workers, key=psutil.Process.create_time).kill()

    def stop(self) -> None:
        """Stop."""
        self._end.set()
        self.join()


def growth(values: list[float] | list[int]) -> float:
    """Return the median of the last third relative to that of the first third, without the first value."""
    kept = values[1:]
    third = max(len(kept) // 3, 1)
    return median(kept[-third:]) / median(kept[:third]) if kept else 1.0
