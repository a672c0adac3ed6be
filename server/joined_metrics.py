"""The workers' metrics as one: counters and histograms add up, and survive the worker that counted.

Each worker keeps its numbers in files that belong to its place, not to its process (prometheus_client's
multiprocess mode). The one that takes the place of a dead worker goes on counting where that one ended, so
no counter goes backwards and no file is left behind.
"""

from collections.abc import Iterable
from functools import partial
from pathlib import Path

from prometheus_client import CollectorRegistry, Counter, Metric
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector


class JoinedMetrics(Collector):
    """What the supervisor exposes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        MultiProcessCollector(self.registry, str(folder))  # type: ignore[no-untyped-call]
        self._restarts = Counter(
            "digits_worker_restarts", "Workers that died and were started again", registry=self.registry
        )
        self._processes: dict[int, int] = {}  # slot to process id
        self._seen: set[int] = set()
        self.registry.register(self)

    def started(self, slot: int, pid: int) -> None:
        """Know the process that fills a place."""
        self._seen.add(slot)
        self._processes[slot] = pid

    def ended(self, slot: int) -> None:
        """Forget the gauges of a process that is gone; what it counted stays."""
        self._processes.pop(slot, None)
        mark_process_dead(slot, str(self.folder))  # type: ignore[no-untyped-call]

    def had(self, slot: int) -> bool:
        """Tell whether a place ever had a process that was ready."""
        return slot in self._seen

    def restarted(self) -> None:
        """Count a worker that died."""
        self._restarts.inc()

    def collect(self) -> Iterable[Metric]:
        """Return CPU, memory and file descriptors of each worker, labelled with its place."""
        joined: dict[str, Metric] = {}
        for slot, pid in sorted(self._processes.items()):
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                family = joined.setdefault(metric.name, metric)
                samples = [
                    sample._replace(labels={**sample.labels, "worker": str(slot)})
                    for sample in metric.samples
                ]
                family.samples = samples if family is metric else [*family.samples, *samples]
        return joined.values()
