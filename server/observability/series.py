"""Time series: storage, merging of several processes, and export to Prometheus.

prometheus_client writes the exposition formats. Its metric objects are not used: they cost microseconds per
observation, and a worker cannot send them to its supervisor.
"""

import math
import threading
import time
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Literal

import msgspec
import numpy as np
from numpy.typing import NDArray
from prometheus_client import Metric as Family
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar
from prometheus_client.utils import floatToGoString

Labels = tuple[str, ...]
RULES: dict[str, Callable[[tuple[float, ...]], float]] = {"max": max, "min": min, "sum": sum}
SUFFIX = {"counter": "_total", "gauge": ""}


@dataclass(frozen=True, slots=True)
class Metric:
    """The definition of a metric."""

    name: str
    kind: Literal["counter", "gauge", "histogram", "summary"]
    help: str
    labels: Labels = ()
    buckets: tuple[float, ...] = ()  # upper bounds of a histogram; the last bucket, +Inf, is implied
    joined: Literal["max", "min", "sum"] = "max"  # how gauges of several workers are merged

    @property
    def size(self) -> int:
        """Numbers in a series: a histogram's bucket counts and sum, a summary's count and sum."""
        return {"histogram": len(self.buckets) + 2, "summary": 2}.get(self.kind, 1)


class Series(msgspec.Struct, array_like=True):
    """The value of one series."""

    labels: Labels
    numbers: list[float]
    # Exemplars by bucket index: trace id, value and Unix time.
    exemplars: dict[int, tuple[str, float, float]] = {}


class Snapshot(msgspec.Struct):
    """The values of all series by metric name."""

    metrics: dict[str, list[Series]] = msgspec.field(default_factory=dict)

    def items(self, metric: Metric, **labels: str) -> Iterator[tuple[dict[str, str], list[float]]]:
        """Yield labels and numbers of the series with these labels, and any others."""
        for series in self.metrics.get(metric.name, ()):
            named = dict(zip(metric.labels, series.labels, strict=True))
            if labels.items() <= named.items():
                yield named, series.numbers

    def total(self, metric: Metric, **labels: str) -> float:
        """Return the sum over those series; for a histogram or summary, of the observed values."""
        return sum(numbers[-1] for _, numbers in self.items(metric, **labels))


class Store:
    """The series of one process; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._metrics: dict[str, dict[Labels, Series]] = {}

    def _series(self, metric: Metric, labels: Labels) -> Series:
        of_metric = self._metrics.setdefault(metric.name, {})
        if (series := of_metric.get(labels)) is None:
            series = of_metric[labels] = Series(labels, [0.0] * metric.size)
        return series

    def add(self, metric: Metric, *labels: str, amount: float = 1) -> None:
        """Increase a counter; 0 creates its series."""
        with self._lock:
            self._series(metric, labels).numbers[0] += amount

    def set(self, metric: Metric, *labels: str, value: float) -> None:
        """Set a gauge."""
        with self._lock:
            self._series(metric, labels).numbers[0] = value

    def replace(self, metric: Metric, values: Mapping[Labels, float]) -> None:
        """Replace all series of a gauge."""
        with self._lock:
            self._metrics[metric.name] = {labels: Series(labels, [value]) for labels, value in values.items()}

    def observe(self, metric: Metric, *labels: str, values: Sequence[float] | NDArray[np.floating]) -> None:
        """Observe values in a histogram; values that are not finite are ignored."""
        observed = np.asarray(values, np.float64)
        observed = observed[np.isfinite(observed)]
        counts = np.bincount(np.searchsorted(metric.buckets, observed), minlength=len(metric.buckets) + 1)
        total = float(observed.sum())
        with self._lock:
            numbers = self._series(metric, labels).numbers
            for index in np.flatnonzero(counts).tolist():
                numbers[index] += int(counts[index])
            numbers[-1] += total

    def observe_total(self, metric: Metric, *labels: str, total: float, count: int) -> None:
        """Add `count` values with a sum of `total` to a summary."""
        with self._lock:
            numbers = self._series(metric, labels).numbers
            numbers[0] += count
            numbers[1] += total

    def exemplify(self, metric: Metric, *labels: str, value: float, trace_id: str) -> None:
        """Set the exemplar of a value's bucket in a histogram."""
        index = bisect_left(metric.buckets, value)
        with self._lock:
            self._series(metric, labels).exemplars[index] = (trace_id, value, time.time())

    def forget(self, metrics: Iterable[Metric], *labels: str) -> None:
        """Remove the series of these metrics whose labels begin with `labels`."""
        with self._lock:
            for metric in metrics:
                of_metric = self._metrics.get(metric.name, {})
                for each in [each for each in of_metric if each[: len(labels)] == labels]:
                    del of_metric[each]

    def read(self) -> Snapshot:
        """Return a copy of all series."""
        with self._lock:
            return Snapshot(
                {
                    name: [
                        Series(each.labels, list(each.numbers), dict(each.exemplars))
                        for each in all_.values()
                    ]
                    for name, all_ in self._metrics.items()
                }
            )


def join(table: Iterable[Metric], snapshots: Sequence[Snapshot]) -> Snapshot:
    """Merge the series of several processes: counters add up, gauges by their rule."""
    joined = Snapshot()
    for metric in table:
        groups: dict[Labels, list[Series]] = defaultdict(list)
        for snapshot in snapshots:
            for series in snapshot.metrics.get(metric.name, ()):
                if len(series.numbers) == metric.size:  # buckets of another release
                    groups[series.labels].append(series)
        rule = RULES[metric.joined if metric.kind == "gauge" else "sum"]
        joined.metrics[metric.name] = [
            Series(
                labels,
                [rule(numbers) for numbers in zip(*(each.numbers for each in group), strict=True)],
                {index: found for each in group for index, found in each.exemplars.items()},
            )
            for labels, group in groups.items()
        ]
    return joined


class Exposition(Collector):
    """A prometheus_client collector of the metrics of a table."""

    def __init__(self, table: Iterable[Metric], read: Callable[[], Snapshot]) -> None:
        self._table = tuple(table)
        self._read = read

    def collect(self) -> Iterator[Family]:
        """Yield each metric with its series."""
        snapshot = self._read()
        for metric in self._table:
            yield _family(metric, snapshot.metrics.get(metric.name, ()))


def _family(metric: Metric, all_series: Iterable[Series]) -> Family:
    family = Family(metric.name, metric.help, metric.kind)
    for series in all_series:
        labels = dict(zip(metric.labels, series.labels, strict=True))
        if metric.kind in {"counter", "gauge"}:
            family.add_sample(metric.name + SUFFIX[metric.kind], labels, series.numbers[0])
            continue
        *counts, total = series.numbers
        if metric.kind == "histogram":
            for index, (bound, below) in enumerate(
                zip((*metric.buckets, math.inf), accumulate(counts), strict=True)
            ):
                found = series.exemplars.get(index)
                exemplar = Exemplar({"trace_id": found[0]}, *found[1:]) if found else None
                le = floatToGoString(bound)  # type: ignore[no-untyped-call]
                family.add_sample(f"{metric.name}_bucket", labels | {"le": le}, below, exemplar=exemplar)
        family.add_sample(f"{metric.name}_count", labels, sum(counts))
        family.add_sample(f"{metric.name}_sum", labels, total)
    return family
