"""The workers' metrics as one: counters and histograms add up, and survive the worker that counted."""

import os
import threading
from collections.abc import Iterable
from functools import partial

from prometheus_client import CollectorRegistry, Metric
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector

from server.observability.series import Exposition, Snapshot, Store, join
from server.observability.table import RESTARTS, TABLE, WORKERS, of_serving


class WorkerMetrics:
    """The metrics that the supervisor exposes. Any thread may call any method."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._own = Store()
        self._own.set(WORKERS, value=0)
        self._own.add(RESTARTS, amount=0)
        self._latest: dict[int, Snapshot] = {}  # by the worker's slot
        self._ended = Snapshot()  # the counts of processes that are gone
        self.processes = {"supervisor": os.getpid()}

    def registry(self) -> CollectorRegistry:
        """Return a registry of the joined metrics, and of each process's CPU, memory and file descriptors."""
        registry = CollectorRegistry()
        registry.register(Exposition(TABLE, self.read))
        registry.register(_Processes(self))
        return registry

    def started(self, slot: int, pid: int) -> None:
        """Know the process that fills a slot."""
        self.processes = {**self.processes, str(slot): pid}
        self._own.set(WORKERS, value=len(self.processes) - 1)

    def report(self, slot: int, snapshot: Snapshot) -> None:
        """Take in a worker's metrics."""
        with self._lock:
            self._latest[slot] = snapshot

    def ended(self, slot: int) -> None:
        """Forget the gauges of a process that is gone; what it counted stays."""
        with self._lock:
            if (last := self._latest.pop(slot, None)) is not None:
                counts = [metric for metric in TABLE if metric.kind != "gauge"]
                self._ended = join(counts, [self._ended, last])
        self.processes = {name: pid for name, pid in self.processes.items() if name != str(slot)}
        self._own.set(WORKERS, value=len(self.processes) - 1)

    def restarted(self) -> None:
        """Count a worker that died."""
        self._own.add(RESTARTS)

    def read(self) -> Snapshot:
        """Return the workers' metrics as one, without the series of versions that no worker serves.

        Those go on where they ended should their version come back.
        """
        with self._lock:
            joined = join(TABLE, [self._own.read(), self._ended, *self._latest.values()])
        return of_serving(joined)


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
