"""Metrics of the calls, batches and versions of one process.

Durations are seconds. Events of calls and batches are kept in a queue, and recorded by `flush` a few times
a second: that costs a tenth of recording each by itself.
"""

import threading
import time
from collections import defaultdict, deque
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.process_collector import ProcessCollector

from server.observability import table
from server.observability.batch_metrics import BatchMetrics, Statistics
from server.observability.series import Exposition, Labels, Snapshot, Store

LAG_SECONDS = 1.0  # of which the worst tick is shown


class Queue(Protocol):
    """The properties of a batcher that gauges show."""

    @property
    def queued_images(self) -> int: ...  # noqa: D102
    @property
    def inflight_images(self) -> int: ...  # noqa: D102
    @property
    def oldest_seconds(self) -> float: ...  # noqa: D102
    @property
    def limit_images(self) -> int: ...  # noqa: D102


class Metrics:
    """The metrics of one process that answers calls. Any thread may call any method.

    The series of a version outlive it: should it come back, they go on where they ended.
    """

    def __init__(self) -> None:
        self.store = Store()
        self._since: dict[Labels, float] = {}
        self._unary: set[str] = set()
        self._queues: Sequence[Queue] = ()
        self._versions: dict[tuple[str, int], BatchMetrics] = {}
        self._flushing = threading.Lock()
        self._lags: deque[tuple[float, float]] = deque()  # time and lag
        # Service, method, code, and seconds in all, in the queue and in the model.
        self._finished: deque[tuple[str, str, str, float, float, float]] = deque()
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
        """Return every series, with all that was recorded by now."""
        self.flush()
        return self.store.read()

    def expect(self, service: str, method: str, *, unary: bool) -> None:
        """Show the series of a method before its first call."""
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
        """Record one call that has its answer or its error."""
        self._finished.append((service, method, code, seconds, queue_seconds, compute_seconds))

    def refused_call(self, service: str, method: str, code: str) -> None:
        """Count a call that admission refused; it took no time that a latency could tell of."""
        self.store.add(table.REQUESTS, service, method, code)

    def exemplar(self, method: str, seconds: float, trace_id: str) -> None:
        """Name the trace of one of the calls with such a duration."""
        self.store.exemplify(table.REQUEST_DURATION, method, value=seconds, trace_id=trace_id)

    def tick(self, late_seconds: float) -> None:
        """Flush, at a tick of the data plane that came so late."""
        now = time.monotonic()
        self._lags.append((now, late_seconds))
        while self._lags[0][0] < now - LAG_SECONDS:
            self._lags.popleft()
        self.store.set(table.TICK_LAG, value=max(lag for _, lag in self._lags))
        self.flush()

    def flush(self) -> None:
        """Move batches and finished calls into the series, and look at the queues."""
        with self._flushing:
            self._look()
            for batches in list(self._versions.values()):
                batches.flush()
            self._flush_finished()

    def _flush_finished(self) -> None:
        calls: dict[tuple[str, str, str], list[tuple[float, float, float]]] = defaultdict(list)
        for _ in range(len(self._finished)):
            service, method, code, *seconds = self._finished.popleft()
            calls[service, method, code].append((seconds[0], seconds[1], seconds[2]))
        for (service, method, code), durations in calls.items():
            totals, queue, compute = zip(*durations, strict=True)
            self.store.add(table.REQUESTS, service, method, code, amount=len(totals))
            self.store.observe(table.REQUEST_DURATION, method, values=totals)
            if method in self._unary:
                stages = sum(queue), sum(compute)
                rest = max(sum(totals) - sum(stages), 0.0)  # rounding may leave less than nothing
                for stage, seconds_ in zip(table.STAGES, (*stages, rest), strict=True):
                    self.store.add(table.STAGE_SECONDS, method, stage, amount=seconds_)

    def _look(self) -> None:
        queues = self._queues
        self.store.set(table.QUEUE_IMAGES, value=sum(queue.queued_images for queue in queues))
        self.store.set(table.INFLIGHT_IMAGES, value=sum(queue.inflight_images for queue in queues))
        self.store.set(table.QUEUE_AGE, value=max((queue.oldest_seconds for queue in queues), default=0.0))
        self.store.set(table.QUEUE_LIMIT, value=sum(queue.limit_images for queue in queues))

    def rejected(self, reason: str) -> None:
        """Count a call refused by admission."""
        self.store.add(table.REJECTED, reason)

    def watch(self, queues: Sequence[Queue]) -> None:
        """Read these queues at each flush from now on."""
        self._queues = tuple(queues)

    def loaded(self, model: str, version: int) -> BatchMetrics:
        """Count a version that is about to serve, and return the metrics of its batches."""
        self.store.add(table.MODEL_LOADS, "loaded")
        # A version that is loaded again goes on counting while its former load finishes.
        if (model, version) not in self._versions:
            self._versions[model, version] = BatchMetrics(self.store, model, str(version))
        return self._versions[model, version]

    def statistics(self, model: str, version: int) -> Statistics:
        """Return the totals of a version that serves, until now."""
        self.flush()
        batches = self._versions.get((model, version))
        return Statistics() if batches is None else batches.statistics

    def refused(self) -> None:
        """Count a version that may not serve."""
        self.store.add(table.MODEL_LOADS, "refused")

    def problems(self, count: int) -> None:
        """Set how much is wrong in the model repository."""
        self.store.set(table.PROBLEMS, value=count)

    def serving(self, infos: set[Labels]) -> None:
        """Set which versions serve, each as model, version, sha256, provider, precision and accuracy."""
        now = time.time()
        self._since = {info: self._since.get(info, now) for info in infos}
        self.store.replace(table.MODEL_INFO, dict.fromkeys(infos, 1))
        self.store.replace(table.SERVING_SINCE, {info[:2]: since for info, since in self._since.items()})

    def labelled(self, labels: Mapping[tuple[str, str, str], float | None]) -> None:
        """Set where labels point, each as model, label and version, with the share of a label on trial."""
        self.store.replace(table.LABEL_INFO, dict.fromkeys(labels, 1))
        shares: dict[Labels, float] = {key: share for key, share in labels.items() if share is not None}
        self.store.replace(table.LABEL_SHARE, shares)
