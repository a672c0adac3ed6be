"""History of the last quarter of an hour, sampled from the server's own metrics."""

import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable
from dataclasses import dataclass
from itertools import accumulate, pairwise

import numpy as np

from server.observability import table
from server.observability.series import Snapshot

INTERVAL_SECONDS = 5.0
MOMENTS = 180
# Unary methods; the duration of a stream is the caller's choice.
UNARY = ("Predict", "ModelInfer")


@dataclass(frozen=True, slots=True)
class Moment:
    """The counters at one time."""

    at: float
    codes: Counter[str]  # calls by status code
    images: float
    batches: float
    buckets: dict[float, float]  # upper bound of a bucket in seconds to its cumulative count of unary calls

    @classmethod
    def read(cls, snapshot: Snapshot) -> "Moment":
        """Read the counters from a snapshot."""
        codes: Counter[str] = Counter()
        for labels, (count,) in snapshot.items(table.REQUESTS):
            codes[labels["code"]] += int(count)
        buckets: dict[float, float] = defaultdict(float)
        for labels, (*counts, _) in snapshot.items(table.REQUEST_DURATION):
            if labels["method"] in UNARY:
                bounds = (*table.REQUEST_DURATION.buckets, math.inf)
                for bound, below in zip(bounds, accumulate(counts), strict=True):
                    buckets[bound] += below
        batches = sum(sum(counts) for _, (*counts, _) in snapshot.items(table.BATCH_IMAGES))
        return cls(time.monotonic(), codes, snapshot.total(table.BATCH_IMAGES), batches, dict(buckets))


@dataclass(frozen=True, slots=True)
class Span:
    """The differences between two moments."""

    before: Moment
    after: Moment

    def calls_per_second(self) -> float:
        """Return calls per second."""
        return self._rate((self.after.codes - self.before.codes).total())

    def errors_per_second(self) -> float:
        """Return failed calls per second."""
        codes = self.after.codes - self.before.codes
        return self._rate(codes.total() - codes["OK"])

    def images_per_second(self) -> float:
        """Return images per second."""
        return self._rate(self.after.images - self.before.images)

    def batch_images(self) -> float | None:
        """Return the mean images per batch; None without batches."""
        batches = self.after.batches - self.before.batches
        return (self.after.images - self.before.images) / batches if batches > 0 else None

    def latency_ms(self, quantile: float) -> float | None:
        """Return a quantile of the latency of unary calls, interpolated in its bucket; None without calls."""
        bounds = sorted(self.after.buckets)
        counts = [self.after.buckets[bound] - self.before.buckets.get(bound, 0) for bound in bounds]
        if not counts or counts[-1] <= 0:
            return None
        # Values in the +Inf bucket count as the last finite bound.
        seconds = np.interp(quantile * counts[-1], [0, *counts], [0, *bounds[:-1], bounds[-2]])
        return 1e3 * float(seconds)

    def _rate(self, count: float) -> float:
        # The counters of an unloaded version disappear.
        return max(count, 0.0) / (self.after.at - self.before.at)


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

    def each(self, figure: Callable[[Span], float | None]) -> list[float | None]:
        """Return a figure of every interval, oldest first."""
        return [figure(Span(*pair)) for pair in pairwise(list(self._moments))]

    def ends(self) -> Counter[str]:
        """Return how the calls of all of it ended."""
        moments = list(self._moments)
        return moments[-1].codes - moments[0].codes if moments else Counter()
