"""Metrics of the calls, batches and versions of one process.

Durations are seconds. Calls and batches are queued, and `flush` records them a few times per second, at a
tenth of the cost of recording each.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Protocol

import numpy as np
from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from server.observability import table
from server.observability.batch_metrics import BatchMetrics, Statistics
from server.observability.series import Exposition, Labels, Snapshot, Store

LAG_SECONDS = 1.0  # window of the maximum tick lag
# Past versions whose series are kept; without a limit, a server to which versions are published grows.
MAX_PAST_VERSIONS = 20


class Queue(Protocol):
    """The properties of a batcher that are exported as gauges."""

    @property
    def queued_images(self) -> int: ...  # noqa: D102
    @property
    def inflight_images(self) -> int: ...  # noqa: D102
    @property
    def oldest_seconds(self) -> float: ...  # noqa: D102
    @property
    def limit_images(self) -> int: ...  # noqa: D102


class Metrics:
    """The metrics of one serving process; thread-safe.

    The series of a version are kept after it is unloaded, and continue if it is loaded again before
    MAX_PAST_VERSIONS others were unloaded.
    """

    def __init__(self) -> None:
        self.store = Store()
        self._since: dict[Labels, float] = {}
        self._unary: set[str] = set()
        self._queues: Sequence[Queue] = ()
        self._versions: dict[tuple[str, int], BatchMetrics] = {}
        self._flushing = threading.Lock()
        self._lags: deque[tuple[float, float]] = deque()  # time and lag
        # Service, method and code to the seconds of each call: total, queue, compute.
        self._finished: defaultdict[Labels, deque[tuple[float, float, float]]] = defaultdict(deque)
        self.store.set(table.BUILD_INFO, version("digit-serving"), value=1)
        for metric, label in table.EXPECTED:
            self.store.add(metric, label, amount=0)
        for gauge in (table.PROBLEMS, table.TICK_LAG):
            self.store.set(gauge, value=0)
        self._look()

    def registry(self) -> CollectorRegistry:
        """Return a registry of these metrics and this process's CPU, memory and file descriptors."""
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        registry.register(Exposition(table.TABLE, lambda: table.of_serving(self.read())))
        return registry

    def read(self) -> Snapshot:
        """Flush, and return every series."""
        self.flush()
        return self.store.read()

    def expect(self, service: str, method: str, *, unary: bool) -> None:
        """Create the series of a method before its first call."""
        for code in table.CODES:
            self.store.add(table.REQUESTS, service, method, code, amount=0)
        self.store.observe(table.REQUEST_DURATION, method, values=())
        if unary:
            self._unary.add(method)
            for stage in table.STAGES:
                self.store.add(table.STAGE_SECONDS, method, stage, amount=0)

    def finished(  # noqa: PLR0913, PLR0917 - the facts of a call
        self,
        service: str,
        method: str,
        code: str,
        seconds: float,
        queue_seconds: float = 0.0,
        compute_seconds: float = 0.0,
    ) -> None:
        """Record a finished call."""
        self._finished[service, method, code].append((seconds, queue_seconds, compute_seconds))

    def tick(self, late_seconds: float) -> None:
        """Flush; called at each tick of the data plane."""
        now = time.monotonic()
        self._lags.append((now, late_seconds))
        while self._lags[0][0] < now - LAG_SECONDS:
            self._lags.popleft()
        self.store.set(table.TICK_LAG, value=max(lag for _, lag in self._lags))
        self.flush()

    def flush(self) -> None:
        """Add batches and finished calls to the series, and update the queue gauges."""
        with self._flushing:
            self._look()
            for batches in self._versions.values():
                batches.flush()
            self._flush_finished()

    def _flush_finished(self) -> None:
        for (service, method, code), calls in list(self._finished.items()):
            if not calls:
                continue
            durations = np.array([calls.popleft() for _ in range(len(calls))])
            self.store.add(table.REQUESTS, service, method, code, amount=len(durations))
            self.store.observe(table.REQUEST_DURATION, method, values=durations[:, 0])
            if method in self._unary:
                total, queue, compute = durations.sum(axis=0).tolist()
                rest = max(total - queue - compute, 0.0)  # rounding may make it negative
                for stage, seconds in zip(table.STAGES, (queue, compute, rest), strict=True):
                    self.store.add(table.STAGE_SECONDS, method, stage, amount=seconds)

    def _look(self) -> None:
        queues = self._queues
        self.store.set(table.QUEUE_IMAGES, value=sum(queue.queued_images for queue in queues))
        self.store.set(table.INFLIGHT_IMAGES, value=sum(queue.inflight_images for queue in queues))
        self.store.set(table.QUEUE_AGE, value=max((queue.oldest_seconds for queue in queues), default=0.0))
        self.store.set(table.QUEUE_LIMIT, value=sum(queue.limit_images for queue in queues))

    def watch(self, queues: Sequence[Queue]) -> None:
        """Set the batchers whose queues are exported."""
        self._queues = tuple(queues)

    def loaded(self, model: str, version: int) -> BatchMetrics:
        """Count a loaded version, and return the metrics of its batches."""
        self.store.add(table.MODEL_LOADS, "loaded")
        with self._flushing:
            # A reloaded version shares the metrics of the instance that it replaces.
            batches = self._versions.pop((model, version), None)
            batches = batches or BatchMetrics(self.store, model, str(version))
            self._versions[model, version] = batches  # last: the versions are in order of their last load
        return batches

    def statistics(self, model: str, version: int) -> Statistics:
        """Flush, and return the totals of a loaded version."""
        self.flush()
        batches = self._versions.get((model, version))
        return Statistics() if batches is None else batches.statistics

    def serving(self, infos: set[Labels]) -> None:
        """Set the serving versions, each as model, version, sha256, provider, precision and accuracy."""
        now = time.time()
        self._since = {info: self._since.get(info, now) for info in infos}
        self.store.replace(table.MODEL_INFO, dict.fromkeys(infos, 1))
        self.store.replace(table.SERVING_SINCE, {info[:2]: since for info, since in self._since.items()})
        serving = {info[:2] for info in infos}
        with self._flushing:
            past = [key for key in self._versions if (key[0], str(key[1])) not in serving]
            for model, version in past[:-MAX_PAST_VERSIONS]:
                del self._versions[model, version]
                self.store.forget(table.VERSION_METRICS, model, str(version))

    def labelled(self, labels: Mapping[tuple[str, str, str], float | None]) -> None:
        """Set the labels, each as model, label and version, with the share of a label on trial."""
        self.store.replace(table.LABEL_INFO, dict.fromkeys(labels, 1))
        shares: dict[Labels, float] = {key: share for key, share in labels.items() if share is not None}
        self.store.replace(table.LABEL_SHARE, shares)
