"""The last quarter of an hour of a server, read from its own metrics every few seconds."""

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
# The methods whose durations are latencies: a stream is as long as its caller likes.
UNARY = ("Predict", "ModelInfer")


@dataclass(frozen=True, slots=True)
class Moment:
    """The counts at one time."""

    at: float
    codes: Counter[str]  # calls by how they ended
    images: float
    batches: float
    buckets: dict[float, float]  # upper bound in seconds to the unary calls that took at most so long

    @classmethod
    def read(cls, snapshot: Snapshot) -> "Moment":
        """Read it from the metrics."""
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
    """The changes from one moment to another."""

    before: Moment
    after: Moment

    def calls_per_second(self) -> float:
        """Return how many calls ended a second."""
        return self._rate((self.after.codes - self.before.codes).total())

    def errors_per_second(self) -> float:
        """Return how many of them ended with an error."""
        codes = self.after.codes - self.before.codes
        return self._rate(codes.total() - codes["OK"])

    def images_per_second(self) -> float:
        """Return how many images the model was run on a second."""
        return self._rate(self.after.images - self.before.images)

    def batch_images(self) -> float | None:
        """Return the mean batch; None where there was none."""
        batches = self.after.batches - self.before.batches
        return (self.after.images - self.before.images) / batches if batches > 0 else None

    def latency_ms(self, quantile: float) -> float | None:
        """Return a quantile of the durations of unary calls, as exact as the buckets; None without calls."""
        bounds = sorted(self.after.buckets)
        counts = [self.after.buckets[bound] - self.before.buckets.get(bound, 0) for bound in bounds]
        if not counts or counts[-1] <= 0:
            return None
        # What lies past the last finite bound counts as that bound.
        seconds = np.interp(quantile * counts[-1], [0, *counts], [0, *bounds[:-1], bounds[-2]])
        return 1e3 * float(seconds)

    def _rate(self, count: float) -> float:
        # A version that is gone takes its images along.
        return max(count, 0.0) / (self.after.at - self.before.at)


class History:
    """The moments of the last quarter of an hour."""

    def __init__(self, read: Callable[[], Snapshot]) -> None:
        self._read = read
        self._moments: deque[Moment] = deque(maxlen=MOMENTS + 1)
        self._stopped = threading.Event()

    def record(self) -> None:
        """Remember how things are now."""
        self._moments.append(Moment.read(self._read()))

    def start(self) -> None:
        """Record every few seconds from now on, on a thread."""
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
