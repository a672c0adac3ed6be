"""Metrics of one version's batches: queued, and added to the series a few times a second."""

import time
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from server.observability import table
from server.observability.series import Store
from server.settings import IMAGE_BYTES

DIGITS = 10


class Batch(NamedTuple):
    """One run of the model on n images."""

    digits: NDArray[np.int64]  # (n,)
    confidences: NDArray[np.float32]  # (n,)
    ink_pixels: int  # pixels that are not 0, of all n images
    compute_seconds: float
    release_reason: str
    queue_seconds: Sequence[float]  # one for each call whose first part is in it


@dataclass(slots=True)
class Statistics:
    """Totals of one version since it was first loaded, for Triton's ModelStatistics."""

    calls: int = 0  # that were answered
    queue_seconds: float = 0.0
    compute_seconds: float = 0.0  # summed over calls; of a split call, its first batch
    failed_calls: int = 0
    failed_seconds: float = 0.0
    batches: dict[int, tuple[int, float]] = field(
        default_factory=dict
    )  # images in a batch to (batches, seconds)
    last_time: float = 0.0  # Unix time of the last batch

    def add(self, batch: Batch) -> None:
        """Add one run of the model."""
        calls = len(batch.queue_seconds)
        self.calls += calls
        self.queue_seconds += sum(batch.queue_seconds)
        self.compute_seconds += calls * batch.compute_seconds
        count, seconds = self.batches.get(len(batch.digits), (0, 0.0))
        self.batches[len(batch.digits)] = count + 1, seconds + batch.compute_seconds


class BatchMetrics:
    """The metrics of one version's batches; thread-safe."""

    def __init__(self, store: Store, model: str, version: str) -> None:
        self.store = store
        self._labels = (model, version)
        self._batches: deque[Batch] = deque()
        self.statistics = Statistics()
        for metric in (table.QUEUE_DURATION, table.COMPUTE_DURATION, table.BATCH_IMAGES, table.CONFIDENCE):
            store.observe(metric, *self._labels, values=())
        store.observe_total(table.INK, *self._labels, total=0, count=0)
        store.add(table.FAILED, *self._labels, amount=0)
        for digit in range(DIGITS):
            store.add(table.PREDICTIONS, *self._labels, str(digit), amount=0)

    def batch(self, batch: Batch) -> None:
        """Record one run of the model."""
        self._batches.append(batch)

    def failed(self, seconds: float) -> None:
        """Count a call for which the model failed, `seconds` after its arrival."""
        self.store.add(table.FAILED, *self._labels)
        self.statistics.failed_calls += 1
        self.statistics.failed_seconds += seconds

    def flush(self) -> None:
        """Add the recorded events to the series."""
        batches = [self._batches.popleft() for _ in range(len(self._batches))]
        if not batches:
            return
        for batch in batches:
            self.statistics.add(batch)
        self.statistics.last_time = time.time()
        store, labels = self.store, self._labels
        digits = np.concatenate([batch.digits for batch in batches])
        waits = [seconds for batch in batches for seconds in batch.queue_seconds]
        store.observe(table.QUEUE_DURATION, *labels, values=waits)
        store.observe(table.COMPUTE_DURATION, *labels, values=[batch.compute_seconds for batch in batches])
        store.observe(table.BATCH_IMAGES, *labels, values=[len(batch.digits) for batch in batches])
        store.observe(
            table.CONFIDENCE, *labels, values=np.concatenate([batch.confidences for batch in batches])
        )
        ink = sum(batch.ink_pixels for batch in batches) / IMAGE_BYTES
        store.observe_total(table.INK, *labels, total=ink, count=len(digits))
        for digit, count in enumerate(np.bincount(digits, minlength=DIGITS).tolist()):
            store.add(table.PREDICTIONS, *labels, str(digit), amount=count)
        for reason, count in Counter(batch.release_reason for batch in batches).items():
            store.add(table.BATCHES, reason, amount=count)
