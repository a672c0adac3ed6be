"""What the batches of one version record: kept in a list, and moved into the metrics a few times a second."""

from collections import Counter as Tally
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from server.manifest import IMAGE_BYTES

if TYPE_CHECKING:
    from server.metrics import Metrics


class BatchMetrics:
    """What the batches of one version record, with the label lookups done once."""

    def __init__(self, metrics: "Metrics", model: str, version: str) -> None:
        self._queue_duration = metrics.queue_duration.labels(model, version)
        self._compute_duration = metrics.compute_duration.labels(model, version)
        self._batch_images = metrics.batch_images.labels(model, version)
        self._confidence = metrics.confidence.labels(model, version)
        self._ink = metrics.ink.labels(model, version)
        self._predictions = [metrics.predictions.labels(model, version, str(digit)) for digit in range(10)]
        self.failed = metrics.failed_calls.labels(model, version).inc
        self._released = metrics.batches
        self.rejected = metrics.rejected
        self.dropped = metrics.dropped
        self._flush_soon = metrics.flush_soon
        # Since the last flush: the batches, and how long the calls that began in them had waited.
        self._batches: list[Batch] = []
        self._queue_seconds: list[float] = []

    def batch(self, batch: "Batch", queue_seconds: Sequence[float]) -> None:
        """Record one run of the model, and the seconds in the queue of each call that began in it."""
        self._flush_soon()
        self._batches.append(batch)
        self._queue_seconds += queue_seconds

    def flush(self) -> None:
        """Move what was recorded into the counters and histograms."""
        batches, self._batches = self._batches, []
        if not batches:
            return
        queue_seconds, self._queue_seconds = self._queue_seconds, []
        digits = np.concatenate([batch.digits for batch in batches])
        self._queue_duration.observe_many(queue_seconds)
        self._compute_duration.observe_many([batch.compute_seconds for batch in batches])
        self._batch_images.observe_many([len(batch.digits) for batch in batches])
        self._confidence.observe_many(np.concatenate([batch.confidences for batch in batches]))
        self._ink.observe_total(sum(batch.ink_pixels for batch in batches) / IMAGE_BYTES, len(digits))
        for digit, count in enumerate(np.bincount(digits).tolist()):
            self._predictions[digit].inc(count)
        for reason, count in Tally(batch.release_reason for batch in batches).items():
            self._released.labels(reason).inc(count)


@dataclass(frozen=True, slots=True)
class Batch:
    """One run of the model on n images."""

    digits: NDArray[np.int64]  # (n,)
    confidences: NDArray[np.float32]  # (n,)
    ink_pixels: int  # that are not background, of all n images
    compute_seconds: float
    release_reason: str
