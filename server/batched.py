"""Metrics that take many observations at a time: one of prometheus_client's costs microseconds each."""

import time
from bisect import bisect_left
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from prometheus_client import Histogram, Summary
from prometheus_client.samples import Exemplar


class BatchedHistogram(Histogram):
    """A histogram that takes many observations at a time."""

    def observe_many(self, values: Sequence[float] | NDArray[np.floating]) -> None:
        """Count each value in its bucket: one locked addition a bucket instead of one search a value."""
        indices = np.searchsorted(self._upper_bounds, values)
        for bucket, count in enumerate(np.bincount(indices).tolist()):
            if count:
                self._buckets[bucket].inc(count)
        self._sum.inc(float(np.sum(values)))

    def exemplify(self, value: float, trace_id: str) -> None:
        """Name the trace of a value, in the bucket that it is counted in."""
        bucket = self._buckets[bisect_left(self._upper_bounds, value)]
        bucket.set_exemplar(Exemplar({"trace_id": trace_id}, value, time.time()))


class BatchedSummary(Summary):
    """A sum and a count that take many observations at a time."""

    def observe_total(self, total: float, count: int) -> None:
        """Count `count` values that add up to `total`."""
        self._count.inc(count)
        self._sum.inc(total)
