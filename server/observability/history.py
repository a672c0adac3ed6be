"""History of the last quarter of an hour, sampled from the server's own metrics."""

import threading
import time
from collections import Counter, deque
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.observability import table
from server.observability.series import Snapshot

INTERVAL_SECONDS = 5.0
MOMENTS = 180
# Unary methods; the duration of a stream is the caller's choice.
UNARY = ("Predict", "ModelInfer")
FIGURES = (
    *("calls a second", "images a second", "images a batch"),
    *("p50 latency, ms", "p99 latency, ms", "errors a second"),
)


class Moment(NamedTuple):
    """The counters at one time."""

    at: float  # monotonic seconds
    codes: Counter[str]  # calls by status code
    images: float
    batches: float
    unary: NDArray[np.float64]  # unary calls by bucket of their duration

    @classmethod
    def read(cls, snapshot: Snapshot) -> "Moment":
        """Read the counters from a snapshot."""
        codes: Counter[str] = Counter()
        for labels, (count,) in snapshot.items(table.REQUESTS):
            codes[labels["code"]] += int(count)
        unary = np.zeros(len(table.DURATION_BUCKETS) + 1)
        for labels, (*counts, _) in snapshot.items(table.REQUEST_DURATION):
            if labels["method"] in UNARY:
                unary += counts
        batches = sum(sum(counts) for _, (*counts, _) in snapshot.items(table.BATCH_IMAGES))
        return cls(time.monotonic(), codes, snapshot.total(table.BATCH_IMAGES), batches, unary)


def figures(before: Moment, after: Moment) -> tuple[float | None, ...]:
    """Return FIGURES of the time between two moments; None for a mean or quantile of nothing."""
    seconds = after.at - before.at
    codes = after.codes - before.codes
    # The counters of an unloaded version disappear.
    images, batches = max(after.images - before.images, 0.0), max(after.batches - before.batches, 0.0)
    calls = np.cumsum(after.unary - before.unary)
    return (
        codes.total() / seconds,
        images / seconds,
        images / batches if batches else None,
        _latency_ms(calls, 0.5),
        _latency_ms(calls, 0.99),
        (codes.total() - codes["OK"]) / seconds,
    )


def _latency_ms(calls: NDArray[np.float64], quantile: float) -> float | None:
    """Interpolate a quantile in its bucket; `calls` are cumulative by bucket."""
    if calls[-1] <= 0:
        return None
    *_, last = table.DURATION_BUCKETS  # also for calls that took longer
    bounds = (0.0, *table.DURATION_BUCKETS, last)
    return 1e3 * float(np.interp(quantile * calls[-1], [0, *calls], bounds))


class History:
    """The moments of the last quarter of an hour."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read
        self._moments: deque[Moment] = deque(maxlen=MOMENTS + 1)
        self._stopped = threading.Event()

    def record(self) -> None:
        """Record a moment."""
        self._moments.append(Moment.read(self._read()))

    def start(self) -> None:
        """Start a thread that records every few seconds."""
        threading.Thread(target=self._run, name="history", daemon=True).start()

    def _run(self) -> None:
        self.record()
        while not self._stopped.wait(INTERVAL_SECONDS):
            self.record()

    def stop(self) -> None:
        """Record no more."""
        self._stopped.set()

    def figures(self) -> dict[str, list[float | None]]:
        """Return each figure of every interval, oldest first."""
        intervals = [figures(*pair) for pair in pairwise(list(self._moments))]
        return {name: [each[index] for each in intervals] for index, name in enumerate(FIGURES)}

    def ends(self) -> Counter[str]:
        """Return how the calls of all of it ended."""
        moments = list(self._moments)
        return moments[-1].codes - moments[0].codes if moments else Counter()
