"""The workers' metrics as one: counters and histograms add up, and survive the worker that counted.

Each worker keeps its numbers in files that belong to its place, not to its process (prometheus_client's
multiprocess mode). The one that takes the place of a dead worker goes on counting where that one ended, so
no counter goes backwards and no file is left behind.

Nothing can be taken out of those files, so the series of what is gone are left out here: of versions that
no worker serves, and of labels that point elsewhere. They go on where they ended should it come back.
"""

import os
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import Any

from prometheus_client import CollectorRegistry, Metric, values
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.process_collector import ProcessCollector
from prometheus_client.registry import Collector
from prometheus_client.samples import Exemplar, Sample

from server.errors import StartError
from server.metrics import worker_metrics

# The gauges that say by 1 and 0 what is there and what is gone, and the labels that name it.
PRESENCE = {"digits_model_info": ("model", "version"), "digits_label_info": ("model", "label", "version")}
# prometheus_client's files of one worker, and room for some thousand series in each.
KINDS = ("counter", "histogram", "summary", "gauge_livesum", "gauge_livemax", "gauge_livemin")
RESERVED_BYTES = 2**20


class JoinedMetrics(Collector):
    """What the supervisor exposes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.registry = CollectorRegistry()
        self._files = MultiProcessCollector(None, str(folder))  # type: ignore[no-untyped-call]
        self._workers, self._restarts = worker_metrics(self.registry)
        self._processes = {"supervisor": os.getpid()}  # by place
        self._seen: set[int] = set()
        # Of a sample's name and labels. The library has none for what is in files.
        self._exemplars: dict[tuple[str, frozenset[tuple[str, str]]], Exemplar] = {}
        self.registry.register(self)

    def started(self, slot: int, pid: int) -> None:
        """Know the process that fills a place."""
        self._seen.add(slot)
        self._processes[str(slot)] = pid
        self._workers.set(len(self._processes) - 1)

    def ended(self, slot: int) -> None:
        """Forget the gauges of a process that is gone; what it counted stays."""
        self._processes.pop(str(slot), None)
        self._workers.set(len(self._processes) - 1)
        mark_process_dead(slot, str(self.folder))  # type: ignore[no-untyped-call]

    def had(self, slot: int) -> bool:
        """Tell whether a place ever had a process that was ready."""
        return slot in self._seen

    def restarted(self) -> None:
        """Count a worker that died."""
        self._restarts.inc()

    def receive_exemplar(self, content: list[Any]) -> None:
        """Keep the exemplar that a worker tells of, for as long as there is none newer in its place."""
        name, labels, *exemplar = content
        self._exemplars[name, frozenset(labels.items())] = Exemplar(*exemplar)

    def collect(self) -> Iterable[Metric]:
        """Return the workers' metrics as one, and CPU, memory and file descriptors of each process."""
        for family in present(list(self._files.collect())):  # type: ignore[no-untyped-call]
            if self._exemplars and family.type == "histogram":
                family.samples = [
                    each._replace(exemplar=self._exemplars.get((each.name, frozenset(each.labels.items()))))
                    for each in family.samples
                ]
            yield family
        joined: dict[str, Metric] = {}
        for place, pid in sorted(self._processes.items()):
            for metric in ProcessCollector(pid=partial(int, pid), registry=None).collect():
                family = joined.setdefault(metric.name, metric)
                samples = [
                    sample._replace(labels={**sample.labels, "worker": place}) for sample in metric.samples
                ]
                family.samples = samples if family is metric else [*family.samples, *samples]
        yield from joined.values()


def present(metrics: list[Metric]) -> list[Metric]:
    """Leave out the series of versions and labels that are gone."""
    for name, keys in PRESENCE.items():
        there = {
            tuple(sample.labels[key] for key in keys)
            for metric in metrics
            if metric.name == name
            for sample in metric.samples
            if sample.value
        }

        def stays(sample: Sample, keys: tuple[str, ...] = keys, there: set[tuple[str, ...]] = there) -> bool:
            return not sample.labels.keys() >= set(keys) or tuple(sample.labels[key] for key in keys) in there

        for metric in metrics:
            metric.samples = [sample for sample in metric.samples if stays(sample)]
    return metrics


def worker_values(slot: int, tell: Callable[[list[Any]], None]) -> type:
    """Return what holds the numbers of the worker in a place: files, and `tell` for its exemplars."""
    mapped: Any = values.MultiProcessValue(lambda: slot)  # type: ignore[no-untyped-call]

    class Value(mapped):  # type: ignore[misc]  # the library makes the class
        def set_exemplar(self, exemplar: Exemplar) -> None:
            _, _, name, label_names, label_values, *_ = self._params
            labels = dict(zip(label_names, label_values, strict=True))
            tell([name, labels, exemplar.labels, exemplar.value, exemplar.timestamp])

    return Value


def reserve(folder: Path, slot: int) -> None:
    """Take the disk space of a worker's numbers: they are mapped, and a full disk kills who writes to a hole.

    Raises:
        StartError: there is no space.

    """
    try:
        for kind in KINDS:
            with (folder / f"{kind}_{slot}.db").open("ab") as file:
                os.posix_fallocate(file.fileno(), 0, RESERVED_BYTES)
    except OSError as error:
        raise StartError(
            f"metrics of a worker need {len(KINDS) * RESERVED_BYTES} bytes in {folder}: {error.strerror}"
        ) from None
