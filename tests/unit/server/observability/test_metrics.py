"""The metrics of one process."""

import numpy as np
import pytest

from server.observability.batch_metrics import Batch
from server.observability.metrics import MAX_PAST_VERSIONS, Metrics
from server.observability.table import CODES, PREDICTIONS, STAGES

VERSION = {"model": "digits", "version": "1"}
FOUR_DIGITS = Batch(np.arange(4), np.full(4, 0.9, np.float32), 0, 0.001, "idle", [0.0])
INFO = ("digits", "1", "sha", "cpu", "float32", "0.99")


def serving() -> Metrics:
    """Return metrics of a process that serves a version."""
    metrics = Metrics()
    metrics.serving({INFO})
    return metrics


def value(metrics: Metrics, name: str, **labels: str) -> float | None:
    return metrics.registry().get_sample_value(name, labels)


def test_every_status_of_every_method_is_there_before_the_first_call() -> None:
    metrics = Metrics()
    metrics.expect("service", "Predict", unary=True)
    for code in CODES:
        labels = {"service": "service", "method": "Predict", "code": code}
        assert value(metrics, "digits_requests_total", **labels) == 0
    assert value(metrics, "digits_request_duration_seconds_count", method="Predict") == 0


def test_every_digit_is_there_before_the_first_prediction() -> None:
    metrics = serving()
    metrics.loaded("digits", 1)
    for digit in range(10):
        assert value(metrics, "digits_predictions_total", **VERSION, digit=str(digit)) == 0


def test_series_of_versions_long_past_are_forgotten() -> None:
    metrics = Metrics()
    for version in range(1, 51):
        metrics.loaded("digits", version)
        metrics.serving({("digits", str(version), *INFO[2:])})
    kept = {int(labels["version"]) for labels, _ in metrics.read().items(PREDICTIONS)}
    assert kept == set(range(50 - MAX_PAST_VERSIONS, 51))


def test_duration_buckets_begin_at_50_microseconds() -> None:
    metrics = Metrics()
    metrics.expect("service", "Predict", unary=True)
    name = "digits_request_duration_seconds_bucket"
    assert value(metrics, name, method="Predict", le="5e-05") == 0


def test_stages_of_unary_calls_add_up_to_their_duration() -> None:
    metrics = Metrics()
    metrics.expect("service", "Predict", unary=True)
    metrics.expect("service", "PredictStream", unary=False)
    metrics.finished("service", "Predict", "OK", 0.007, queue_seconds=0.001, compute_seconds=0.004)
    metrics.finished("service", "Predict", "OK", 0.006, queue_seconds=0.002, compute_seconds=0.003)
    metrics.finished("service", "Predict", "NOT_FOUND", 0.0001)
    metrics.finished("service", "PredictStream", "OK", 60.0)
    metrics.flush()
    name = "digits_request_stage_seconds_total"
    stages = [value(metrics, name, method="Predict", stage=stage) for stage in STAGES]
    assert stages == pytest.approx([0.003, 0.007, 0.0031])
    total = value(metrics, "digits_request_duration_seconds_sum", method="Predict")
    assert sum(stage or 0 for stage in stages) == pytest.approx(total)
    assert value(metrics, name, method="PredictStream", stage="rest") is None


def test_stages_that_round_to_more_than_the_call_leave_no_rest() -> None:
    metrics = Metrics()
    metrics.expect("service", "Predict", unary=True)
    metrics.finished("service", "Predict", "OK", 0.3, queue_seconds=0.1, compute_seconds=0.2)
    metrics.flush()
    name = "digits_request_stage_seconds_total"
    assert value(metrics, name, method="Predict", stage="rest") == 0


def test_labels_show_where_they_point_now() -> None:
    metrics = Metrics()
    metrics.labelled({("digits", "stable", "3"): None, ("digits", "canary", "4"): 0.05})
    metrics.labelled({("digits", "stable", "4"): None})

    def shown(name: str, label: str, version: str) -> float | None:
        return value(metrics, name, model="digits", label=label, version=version)

    assert shown("digits_label_info", "stable", "4") == 1
    assert shown("digits_label_info", "stable", "3") is None
    assert shown("digits_label_info", "canary", "4") is None
    assert shown("digits_label_share_ratio", "canary", "4") is None


def test_version_serves_since_it_began_though_others_come_and_go() -> None:
    metrics = Metrics()
    one, two = (("digits", version, "sha", "cpu", "float32", "0.99") for version in ("1", "2"))
    name = "digits_model_serving_since_timestamp_seconds"
    metrics.serving({one})
    began = value(metrics, name, **VERSION)
    metrics.serving({one, two})
    assert value(metrics, name, **VERSION) == began
    metrics.serving({two})
    assert value(metrics, name, **VERSION) is None


class StuckQueue:
    """A queue whose first call has waited for a minute."""

    queued_images, inflight_images, limit_images, oldest_seconds = 3, 5, 100, 60.0


def test_queues_are_looked_at_though_no_call_finishes() -> None:
    metrics = Metrics()
    metrics.watch([StuckQueue(), StuckQueue()])
    metrics.tick(0.0)
    assert value(metrics, "digits_queue_age_seconds") == 60
    assert value(metrics, "digits_queue_images") == 6
    assert value(metrics, "digits_queue_limit_images") == 200
    assert value(metrics, "digits_inflight_images") == 10


def test_version_that_is_loaded_again_keeps_what_its_former_self_still_counts() -> None:
    metrics = serving()
    for batches in (metrics.loaded("digits", 1), metrics.loaded("digits", 1)):
        batches.batch(FOUR_DIGITS)
    metrics.flush()
    assert value(metrics, "digits_batch_images_sum", **VERSION) == 8


def test_confidence_that_is_no_number_breaks_no_histogram() -> None:
    metrics = serving()
    confidences = np.array([0.9, np.nan, np.inf], np.float32)
    metrics.loaded("digits", 1).batch(FOUR_DIGITS._replace(digits=np.arange(3), confidences=confidences))
    assert value(metrics, "digits_confidence_count", **VERSION) == 1
    assert value(metrics, "digits_confidence_sum", **VERSION) == pytest.approx(0.9)
    assert value(metrics, "digits_batch_images_sum", **VERSION) == 3


def test_worst_tick_of_the_last_second_is_shown() -> None:
    metrics = Metrics()
    for late_seconds in (0.001, 0.4, 0.002):
        metrics.tick(late_seconds)
    assert value(metrics, "digits_tick_lag_seconds") == 0.4


def test_version_that_is_gone_is_not_shown_and_goes_on_counting_when_it_comes_back() -> None:
    metrics = serving()
    metrics.loaded("digits", 1).batch(FOUR_DIGITS)
    metrics.serving(set())
    assert value(metrics, "digits_batch_images_sum", **VERSION) is None
    metrics.serving({INFO})
    metrics.loaded("digits", 1).batch(FOUR_DIGITS)
    assert value(metrics, "digits_batch_images_sum", **VERSION) == 8
