"""Merged metrics of the workers; counters of ended workers are kept."""

import os
import threading
from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from server.observability.series import Exposition, Snapshot, Store, join
from server.observability.table import (
    PREDICTIONS,
    RESTARTS,
    TABLE,
    WORKERS,
    of_serving,
    of_versions,
    versions_of,
)


class WorkerMetrics:
    """The metrics that the supervisor exposes; thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = Store()
        self._own.add(RESTARTS, amount=0)
        self._latest: dict[int, tuple[int, Snapshot]] = {}  # process id and metrics, by worker slot
        self._ended = Snapshot()  # counters of processes that have ended

    def registry(self) -> CollectorRegistry:
        """Return a registry of the merged metrics and each process's CPU, memory and file descriptors."""
        registry = CollectorRegistry()
        registry.register(Exposition(TABLE, self.read))
        registry.register(_Processes(self))
        return registry

    @property
    def processes(self) -> dict[str, int]:
        """Process ids of the supervisor and of the workers that have reported, by name."""
        with self._lock:
            workers = {str(slot): pid for slot, (pid, _) in self._latest.items()}
        return {"supervisor": os.getpid()} | workers

    def report(self, slot: int, pid: int, snapshot: Snapshot) -> None:
        """Store a worker's metrics."""
        with self._lock:
            self._latest[slot] = pid, snapshot

    def ended(self, slot: int) -> None:
        """Drop the gauges of a process that has ended, and keep its counters."""
        with self._lock:
            if slot not in self._latest:
                return
            _, last = self._latest.pop(slot)
            counts = [metric for metric in TABLE if metric.kind != "gauge"]
            joined = join(counts, [self._ended, last])
            # Workers forget the series of versions long past.
            self._ended = of_versions(joined, versions_of(PREDICTIONS, last, *self._snapshots()))

    def restarted(self) -> None:
        """Count a worker that ended unexpectedly."""
        self._own.add(RESTARTS)

    def read(self) -> Snapshot:
        """Merge the workers' metrics, without the series of versions that no worker serves.

        Hidden series continue if their version is loaded again.
        """
        with self._lock:
            self._own.set(WORKERS, value=len(self._latest))
            joined = join(TABLE, [self._own.read(), self._ended, *self._snapshots()])
        return of_serving(joined)

    def _snapshots(self) -> list[Snapshot]:
        return [snapshot for _, snapshot in self._latest.values()]


class _Processes(Collector):
    """CPU, memory and file descriptors of each process, labelled by `worker`."""

    def __init__(self, metrics: WorkerMetrics) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        joined: dict[str, Metric] = {}
        for name, pid in sorted(self._metrics.processes.items()):
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                family = joined.setdefault(
                    metric.name, Metric(metric.name, metric.documentation, metric.type)
                )
                family.samples += [
                    sample._replace(labels={**sample.labels, "worker": name}) for sample in metric.samples
                ]
        return joined.values()
