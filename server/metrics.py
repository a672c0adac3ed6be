"""Every metric of the server, defined here and nowhere else; docs/metrics.md tells what each is for.

Durations are seconds. What happens once a call or once a batch is kept in a list and recorded a few times a
second: a histogram costs microseconds each time, and more in between two runs of a model.
"""

import asyncio
import math
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Literal, Protocol

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    disable_created_metrics,
    values,
)
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.process_collector import ProcessCollector

from server.batch_metrics import BatchMetrics
from server.batched import BatchedHistogram, BatchedSummary

DURATION_BUCKETS = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONFIDENCE_BUCKETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
FLUSH_SECONDS = 0.1
SAMPLE_SECONDS = 1.0
# Every status that this server answers: a rate sees the first error only where the series was there before.
CODES = (
    *("OK", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE"),
)
# Where a unary call's time goes; the three add up to its duration.
STAGES = ("queue", "compute", "rest")

# A second series for each counter and histogram, that nobody asks for.
disable_created_metrics()  # type: ignore[no-untyped-call]  # the library types most, not this


class Queue(Protocol):
    """What the gauges read of a batcher."""

    @property
    def queued_images(self) -> int: ...  # noqa: D102
    @property
    def inflight_images(self) -> int: ...  # noqa: D102
    @property
    def oldest_seconds(self) -> float: ...  # noqa: D102
    @property
    def limit_images(self) -> int: ...  # noqa: D102


class Metrics:
    """The metrics of one server process, on a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._requests = self._counter("requests", "Calls answered", "service", "method", "code")
        self._request_duration = self._histogram(
            "request_duration_seconds", "From a call's arrival to its answer", DURATION_BUCKETS, "method"
        )
        self._stages = self._counter(
            "request_stage_seconds", "Where the time of unary calls went", "method", "stage"
        )
        self.queue_duration = self._histogram(
            "queue_duration_seconds", "From arrival in the queue to the start of the batch",
            DURATION_BUCKETS, "model", "version",
        )  # fmt: skip
        self.compute_duration = self._histogram(
            "compute_duration_seconds", "One batch in the model", DURATION_BUCKETS, "model", "version"
        )
        self.batch_images = self._histogram(
            "batch_images", "Images in one run of the model", BATCH_BUCKETS, "model", "version"
        )
        self.confidence = self._histogram(
            "confidence", "Probability of the predicted digit", CONFIDENCE_BUCKETS, "model", "version"
        )
        self.ink = BatchedSummary(
            "digits_ink_ratio", "Share of an image's pixels that are not background",
            ("model", "version"), registry=self.registry,
        )  # fmt: skip
        self.batches = self._counter("batches", "Batches, by what released them", "release_reason")
        self._rejected = self._counter("rejected", "Calls refused by admission", "reason")
        self._dropped = self._counter(
            "dropped_calls", "Calls that left the queue without being computed", "reason"
        )
        self.predictions = self._counter("predictions", "Digits predicted", "model", "version", "digit")
        self.failed_calls = self._counter(
            "failed_calls", "Calls that the model failed on", "model", "version"
        )
        self._model_info = self._gauge(
            "model_info", "1 for each version that serves",
            "model", "version", "sha256", "provider", "precision", "accuracy",
        )  # fmt: skip
        self._serving_since = self._gauge(
            "model_serving_since_timestamp_seconds", "When a version began to serve", "model", "version",
            joined="livemin",
        )  # fmt: skip
        self._label_info = self._gauge(
            "label_info", "1 for each label and the version it points at", "model", "label", "version"
        )
        self._label_share = self._gauge(
            "label_share_ratio", "Share of unlabelled requests that a label on trial gets",
            "model", "label", "version",
        )  # fmt: skip
        self._model_loads = self._counter("model_load", "Versions loaded or refused", "result")
        self._problems = self._gauge(
            "repository_problems", "Refused versions and labels, and whatever else is wrong on disk now"
        )
        self._queue_images = self._gauge("queue_images", "Images waiting for the model", joined="livesum")
        self._inflight_images = self._gauge(
            "inflight_images", "Images accepted and not answered yet", joined="livesum"
        )
        self._queue_limit = self._gauge(
            "queue_limit_images", "Images for which the queues have room", joined="livesum"
        )
        self._queue_age = self._gauge("queue_age_seconds", "How long the first call in a queue has waited")
        self._loop_lag = self._gauge(
            "event_loop_lag_seconds", "How late the event loop was for its last tick, of one a second"
        )
        self._gauge("build_info", "1, with the server's version", "version").labels(
            version("digit-serving")
        ).set(1)
        for reason in ("idle", "quiet", "full", "retry"):
            self.batches.labels(reason)
        for reason in ("queue_full", "deadline", "calls", "bytes"):
            self._rejected.labels(reason)
        for reason in ("cancelled", "expired"):
            self._dropped.labels(reason)
        for result in ("loaded", "refused"):
            self._model_loads.labels(result)
        self._since: dict[tuple[str, ...], float] = {}
        self._shown: dict[Gauge, set[tuple[str, ...]]] = {}
        self._staged: set[str] = set()
        self._batchers: Sequence[Queue] = ()
        # Seconds in all, in the queue and in the model of each call that has finished since the last flush.
        self._finished: dict[tuple[str, str, str], list[tuple[float, float, float]]] = {}
        self._versions: dict[tuple[str, int], BatchMetrics] = {}
        self._flushing: asyncio.TimerHandle | None = None

    def _counter(self, name: str, help_: str, *labels: str) -> Counter:
        return Counter(f"digits_{name}", help_, labels, registry=self.registry)

    def _gauge(
        self,
        name: str,
        help_: str,
        *labels: str,
        joined: Literal["livemax", "livemin", "livesum"] = "livemax",
    ) -> Gauge:
        # `joined` is what several workers' gauges become.
        return Gauge(f"digits_{name}", help_, labels, registry=self.registry, multiprocess_mode=joined)

    def _histogram(self, name: str, help_: str, buckets: Sequence[float], *labels: str) -> BatchedHistogram:
        return BatchedHistogram(f"digits_{name}", help_, labels, buckets=buckets, registry=self.registry)

    def expect(self, service: str, method: str, *, unary: bool) -> None:
        """Show the series of a method before its first call."""
        for code in CODES:
            self._requests.labels(service, method, code)
        self._request_duration.labels(method)
        if unary:
            self._staged.add(method)
            for stage in STAGES:
                self._stages.labels(method, stage)

    def finished(  # noqa: PLR0913 - what there is to know of a call
        self,
        service: str,
        method: str,
        code: str,
        seconds: float,
        *,
        queue_seconds: float = 0.0,
        compute_seconds: float = 0.0,
    ) -> None:
        """Record one call that has its answer or its error."""
        self.flush_soon()
        self._finished.setdefault((service, method, code), []).append(
            (seconds, queue_seconds, compute_seconds)
        )

    def exemplar(self, method: str, seconds: float, trace_id: str) -> None:
        """Name the trace of one of the calls that took about so long."""
        self._request_duration.labels(method).exemplify(seconds, trace_id)

    def sample(self) -> None:
        """Look at the queues and at the event loop each second from now on, whether calls finish or not."""
        loop = asyncio.get_running_loop()

        def tick(due: float) -> None:
            now = loop.time()
            self._loop_lag.set(max(now - due, 0.0))
            self._look()
            loop.call_at(now + SAMPLE_SECONDS, tick, now + SAMPLE_SECONDS)

        tick(loop.time())

    def flush_soon(self) -> None:
        """Flush in a moment."""
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_SECONDS, self.flush)

    def flush(self) -> None:
        """Move batches and finished calls into the counters and histograms, and look at the queues."""
        if self._flushing is not None:
            self._flushing.cancel()
            self._flushing = None
        self._look()
        for batches in self._versions.values():
            batches.flush()
        finished, self._finished = self._finished, {}
        for (service, method, code), calls in finished.items():
            seconds, queue, compute = zip(*calls, strict=True)
            self._requests.labels(service, method, code).inc(len(calls))
            self._request_duration.labels(method).observe_many(seconds)
            if method in self._staged:
                stages = sum(queue), sum(compute)
                rest = max(sum(seconds) - sum(stages), 0.0)  # rounding may leave less than nothing
                for stage, total in zip(STAGES, (*stages, rest), strict=True):
                    self._stages.labels(method, stage).inc(total)

    def _look(self) -> None:
        self._queue_images.set(sum(batcher.queued_images for batcher in self._batchers))
        self._inflight_images.set(sum(batcher.inflight_images for batcher in self._batchers))
        self._queue_age.set(max((batcher.oldest_seconds for batcher in self._batchers), default=0.0))

    def rejected(self, reason: str) -> None:
        """Count a call refused by admission."""
        self._rejected.labels(reason).inc()

    def dropped(self, reason: str) -> None:
        """Count a call whose caller was gone before the model was run for it."""
        self._dropped.labels(reason).inc()

    def loaded(self, model: str, version: int) -> "BatchMetrics":
        """Count a version that is about to serve, and return the metrics of its batches."""
        self._model_loads.labels("loaded").inc()
        # One that is loaded again goes on counting while its former self finishes.
        if (model, version) not in self._versions:
            self._versions[model, version] = BatchMetrics(self, model, str(version))
        return self._versions[model, version]

    def watch(self, batchers: Sequence[Queue]) -> None:
        """Read the queues of `batchers` at each flush."""
        self._batchers = batchers
        self._queue_limit.set(sum(batcher.limit_images for batcher in batchers))

    def serving(self, infos: set[tuple[str, ...]]) -> None:
        """Tell which versions serve, each as model, version, sha256, provider, precision and accuracy."""
        now = time.time()
        self._since = {info: self._since.get(info, now) for info in infos}
        self._show(self._model_info, dict.fromkeys(infos, 1))
        self._show(self._serving_since, {info[:2]: since for info, since in self._since.items()})

    def labelled(self, labels: Mapping[tuple[str, str, str], float | None]) -> None:
        """Tell where labels point, each as model, label and version, with the share of one on trial."""
        self._show(self._label_info, dict.fromkeys(labels, 1))
        self._show(self._label_share, {key: share for key, share in labels.items() if share is not None})

    def _show(self, gauge: Gauge, series: Mapping[tuple[str, ...], float]) -> None:
        """Let a gauge have these series and no others."""
        for gone in self._shown.get(gauge, set()) - series.keys():
            # Where it cannot be removed, no other worker's value may lose to what is left.
            gauge.labels(*gone).set(math.inf if gauge is self._serving_since else 0)
            self._remove(gauge, gone)
        for labels, value in series.items():
            gauge.labels(*labels).set(value)
        self._shown[gauge] = set(series)

    def forget(self, model: str, version: int) -> None:
        """Drop the series of a version that is gone: there is a new one with every publication."""
        if (batches := self._versions.pop((model, version), None)) is None:
            return
        batches.flush()
        for metric in (
            *(self.queue_duration, self.compute_duration, self.batch_images, self.confidence, self.ink),
        ):
            self._remove(metric, (model, str(version)))
        self._remove(self.failed_calls, (model, str(version)))
        for digit in range(10):
            self._remove(self.predictions, (model, str(version), str(digit)))

    @staticmethod
    def _remove(metric: MetricWrapperBase, labels: Sequence[str]) -> None:
        # What is joined with other workers' cannot be taken back; the library would only warn.
        if values.ValueClass is values.MutexValue:
            metric.remove(*labels)

    def refused(self) -> None:
        """Count a version that may not serve."""
        self._model_loads.labels("refused").inc()

    def problems(self, count: int) -> None:
        """Tell how much is wrong in the model repository."""
        self._problems.set(count)


def worker_metrics(registry: CollectorRegistry) -> tuple[Gauge, Counter]:
    """Return how many processes answer, and how often one was started again: known to none of them."""
    return (
        Gauge("digits_workers", "Processes that answer calls", registry=registry),
        Counter("digits_worker_restarts", "Workers that died and were started again", registry=registry),
    )
