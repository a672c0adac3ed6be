"""The metrics of several workers as one."""

import numpy as np
import pytest

from server.observability.batch_metrics import Batch
from server.observability.metrics import Metrics
from server.observability.series import Snapshot
from server.observability.table import (
    BATCH_IMAGES,
    MODEL_INFO,
    PREDICTIONS,
    QUEUE_AGE,
    QUEUE_IMAGES,
    RESTARTS,
    SERVING_SINCE,
    TICK_LAG,
    WORKERS,
)
from server.process.worker_metrics import WorkerMetrics

INFO = ("digits", "1", "sha", "cpu", "float32", "0.99")


class Queue:
    """A batcher's queue."""

    limit_images, inflight_images = 100, 0

    def __init__(self, queued_images: int, oldest_seconds: float) -> None:
        self.queued_images = queued_images
        self.oldest_seconds = oldest_seconds


def worker(images: int = 0, *, queued: int = 0, age: float = 0.0, lag: float = 0.0) -> Metrics:
    metrics = Metrics()
    metrics.serving({INFO})
    batches = metrics.loaded("digits", 1)
    if images:
        digits = np.zeros(images, np.int64)
        batches.batch(Batch(digits, np.ones(images, np.float32), 0, 0.001, "idle", [0.0]))
    metrics.watch([Queue(queued, age)])
    metrics.tick(lag)
    return metrics


def joined(*workers: Metrics) -> WorkerMetrics:
    metrics = WorkerMetrics()
    for slot, each in enumerate(workers):
        metrics.report(slot, 1, each.read())
    return metrics


def test_counts_add_up_and_gauges_follow_their_rules() -> None:
    now = joined(worker(3, queued=5, age=0.1, lag=0.5), worker(4, queued=6, age=0.7, lag=0.2)).read()
    assert now.total(PREDICTIONS, version="1", digit="0") == 7
    assert now.total(BATCH_IMAGES) == 7
    assert now.total(QUEUE_IMAGES) == 11
    assert now.total(QUEUE_AGE) == 0.7
    assert now.total(TICK_LAG) == 0.5
    assert now.total(MODEL_INFO) == 1
    assert now.total(WORKERS) == 2


def test_version_serves_since_the_first_worker_began() -> None:
    first, second = worker(), worker()
    since = first.read().total(SERVING_SINCE)
    assert joined(second, first).read().total(SERVING_SINCE) == since


def test_what_a_dead_worker_counted_stays_and_its_gauges_go() -> None:
    metrics = joined(worker(3, queued=5), worker(4, queued=6))
    metrics.ended(0)
    metrics.restarted()
    assert metrics.read().total(PREDICTIONS) == 7
    assert metrics.read().total(QUEUE_IMAGES) == 6
    assert metrics.read().total(WORKERS) == 1
    assert metrics.read().total(RESTARTS) == 1
    metrics.report(0, 1, worker(2).read())
    assert metrics.read().total(PREDICTIONS) == 9


def test_counters_of_versions_that_every_worker_forgot_are_forgotten() -> None:
    metrics = joined(worker(3), worker(4))
    for slot in (0, 1):
        metrics.ended(slot)
        metrics.report(slot, 1, Metrics().read())
    metrics.ended(0)
    metrics.report(0, 1, worker(2).read())
    assert metrics.read().total(PREDICTIONS) == 2


def test_nothing_is_there_before_the_first_report() -> None:
    assert joined().read().total(WORKERS) == 0
    assert Snapshot().total(WORKERS) == pytest.approx(0)
