"""The last quarter of an hour of a server, read from its own metrics every few seconds."""

import math
import threading
import time
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import pairwise

from prometheus_client import CollectorRegistry
from prometheus_client.samples import Sample

INTERVAL_SECONDS = 5.0
MOMENTS = 180
# The methods whose durations are latencies: a stream is as long as its caller likes.
UNARY = ("Predict", "ModelInfer")


class Snapshot:
    """Every sample of a registry at one time."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._samples: dict[str, list[Sample]] = defaultdict(list)
        for family in registry.collect():
            for sample in family.samples:
                self._samples[sample.name].append(sample)

    def samples(self, name: str, **labels: str) -> list[Sample]:
        """Return the samples of that name whose labels include these."""
        return [each for each in self._samples.get(name, ()) if labels.items() <= each.labels.items()]

    def total(self, name: str, **labels: str) -> float:
        """Return the sum of those samples."""
        return sum(sample.value for sample in self.samples(name, **labels))


@dataclass(frozen=True, slots=True)
class Moment:
    """What had been counted by one time."""

    at: float
    codes: Counter[str]  # calls by how they ended
    images: float
    batches: float
    buckets: dict[float, float]  # upper bound in seconds to the unary calls that took at most so long

    @classmethod
    def read(cls, snapshot: Snapshot) -> "Moment":
        """Read it from the metrics."""
        codes: Counter[str] = Counter()
        for sample in snapshot.samples("digits_requests_total"):
            codes[sample.labels["code"]] += int(sample.value)
        buckets: dict[float, float] = defaultdict(float)
        for sample in snapshot.samples("digits_request_duration_seconds_bucket"):
            if sample.labels["method"] in UNARY:
                buckets[float(sample.labels["le"])] += sample.value
        images, batches = (snapshot.total(f"digits_batch_images_{each}") for each in ("sum", "count"))
        return cls(time.monotonic(), codes, images, batches, dict(buckets))


@dataclass(frozen=True, slots=True)
class Span:
    """What happened from one moment to another."""

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
        """Return a quantile of the unary calls' durations, as exact as the buckets are; None without calls."""
        counts = {bound: n - self.before.buckets.get(bound, 0) for bound, n in self.after.buckets.items()}
        rank = quantile * counts.get(math.inf, 0)
        lower, below = 0.0, 0.0
        for bound, count in sorted(counts.items()):
            if count > 0 and count >= rank:
                inside = (rank - below) / (count - below)
                return 1e3 * (lower if bound == math.inf else lower + (bound - lower) * inside)
            lower, below = bound, count
        return None

    def _rate(self, count: float) -> float:
        # A version that is gone takes its images along.
        return max(count, 0.0) / (self.after.at - self.before.at)


class History:
    """The moments of the last quarter of an hour."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry
        self._moments: deque[Moment] = deque(maxlen=MOMENTS + 1)

    def record(self) -> None:
        """Remember how things are now."""
        self._moments.append(Moment.read(Snapshot(self._registry)))

    @contextmanager
    def recording(self) -> Iterator[None]:
        """Record every few seconds for the length of a block, on a thread."""
        done = threading.Event()

        def run() -> None:
            self.record()
            while not done.wait(INTERVAL_SECONDS):
                self.record()

        thread = threading.Thread(target=run, name="history", daemon=True)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def each(self, figure: Callable[[Span], float | None]) -> list[float | None]:
        """Return a figure of every interval, oldest first."""
        return [figure(Span(*pair)) for pair in pairwise(list(self._moments))]

    def ends(self) -> Counter[str]:
        """Return how the calls of all of it ended."""
        moments = list(self._moments)
        return moments[-1].codes - moments[0].codes if moments else Counter()
