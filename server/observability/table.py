"""Definitions of the server's metrics; docs/metrics.md explains them."""

from server.observability.series import Labels, Metric, Snapshot

DURATION_BUCKETS = (
    *(50e-6, 100e-6, 250e-6, 500e-6),
    *(1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3),
    *(0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0),
)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)
CONFIDENCE_BUCKETS = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95, 0.99, 0.999, 1.0)
VERSION = ("model", "version")

REQUESTS = Metric("digits_requests", "counter", "Calls answered", ("service", "method", "code"))
REQUEST_DURATION = Metric(
    "digits_request_duration_seconds", "histogram", "From a call's arrival to its answer; refused calls "
    "are left out",
    ("method",), DURATION_BUCKETS,
)  # fmt: skip
STAGE_SECONDS = Metric(
    "digits_request_stage_seconds", "counter", "Where the time of unary calls went", ("method", "stage")
)
QUEUE_DURATION = Metric(
    "digits_queue_duration_seconds", "histogram", "From arrival in the queue to the start of the batch",
    VERSION, DURATION_BUCKETS,
)  # fmt: skip
COMPUTE_DURATION = Metric(
    "digits_compute_duration_seconds", "histogram", "One batch in the model", VERSION, DURATION_BUCKETS
)
BATCH_IMAGES = Metric(
    "digits_batch_images", "histogram", "Images in one run of the model", VERSION, BATCH_BUCKETS
)
CONFIDENCE = Metric(
    "digits_confidence", "histogram", "Probability of the predicted digit", VERSION, CONFIDENCE_BUCKETS
)
INK = Metric("digits_ink_ratio", "summary", "Share of an image's pixels that are not background", VERSION)
BATCHES = Metric("digits_batches", "counter", "Batches, by what released them", ("release_reason",))
REJECTED = Metric("digits_rejected", "counter", "Calls refused by admission", ("reason",))
DROPPED = Metric(
    "digits_dropped_calls", "counter", "Calls that left the queue without being computed", ("reason",)
)
PREDICTIONS = Metric("digits_predictions", "counter", "Digits predicted", (*VERSION, "digit"))
FAILED = Metric("digits_failed_calls", "counter", "Calls that the model failed on", VERSION)
SHADOW_IMAGES = Metric(
    "digits_shadow_images", "counter", "Images that a candidate ran too, by its digit and by the one "
    "that was answered",
    (*VERSION, "shadow_version", "digit", "shadow_digit"),
)  # fmt: skip
SHADOW_SKIPPED = Metric(
    "digits_shadow_skipped_images", "counter", "Images chosen for a candidate that had no time to run them",
    ("model", "shadow_version"),
)  # fmt: skip
SHADOW_DURATION = Metric(
    "digits_shadow_duration_seconds", "histogram", "A few images in a candidate", ("model", "shadow_version"),
    DURATION_BUCKETS,
)  # fmt: skip
CAPTURED = Metric("digits_captured_images", "counter", "Images kept for labelling", ("why",))
CAPTURE_SKIPPED = Metric(
    "digits_capture_skipped_images", "counter", "Images below the confidence that were not kept", ("reason",)
)
MODEL_INFO = Metric(
    "digits_model_info", "gauge", "1 for each version that serves",
    (*VERSION, "sha256", "provider", "precision", "accuracy"),
)  # fmt: skip
SERVING_SINCE = Metric(
    "digits_model_serving_since_timestamp_seconds", "gauge", "When a version began to serve", VERSION,
    joined="min",
)  # fmt: skip
LABEL_INFO = Metric(
    "digits_label_info", "gauge", "1 for each label and the version it points at",
    ("model", "label", "version"),
)  # fmt: skip
LABEL_SHARE = Metric(
    "digits_label_share_ratio", "gauge", "Share of unlabelled requests that a label on trial gets",
    ("model", "label", "version"),
)  # fmt: skip
MODEL_LOADS = Metric("digits_model_load", "counter", "Versions loaded or refused", ("result",))
PROBLEMS = Metric(
    "digits_repository_problems", "gauge", "Refused versions and labels, and whatever else is wrong on "
    "disk now"
)  # fmt: skip
QUEUE_IMAGES = Metric("digits_queue_images", "gauge", "Images waiting for the model", joined="sum")
INFLIGHT_IMAGES = Metric(
    "digits_inflight_images", "gauge", "Images accepted and not answered yet", joined="sum"
)
QUEUE_LIMIT = Metric(
    "digits_queue_limit_images", "gauge", "Images for which the queues have room", joined="sum"
)
QUEUE_AGE = Metric("digits_queue_age_seconds", "gauge", "How long the first call in a queue has waited")
TICK_LAG = Metric(
    "digits_tick_lag_seconds", "gauge", "Largest delay of the data plane's tick, due each 0.1 s, in the "
    "last second"
)  # fmt: skip
BUILD_INFO = Metric("digits_build_info", "gauge", "1, with the server's version", ("version",))
WORKERS = Metric("digits_workers", "gauge", "Processes that answer calls")
RESTARTS = Metric("digits_worker_restarts", "counter", "Workers that died and were started again")
# Labels of batch and prediction metrics, which are hidden for versions that do not serve.
VERSION_METRICS = (
    *(QUEUE_DURATION, COMPUTE_DURATION, BATCH_IMAGES, CONFIDENCE, INK, PREDICTIONS, FAILED),
    *(SHADOW_IMAGES, SHADOW_SKIPPED, SHADOW_DURATION),
)
TABLE = (
    *(REQUESTS, REQUEST_DURATION, STAGE_SECONDS, *VERSION_METRICS, BATCHES, REJECTED, DROPPED),
    *(CAPTURED, CAPTURE_SKIPPED),
    *(MODEL_INFO, SERVING_SINCE, LABEL_INFO, LABEL_SHARE, MODEL_LOADS, PROBLEMS),
    *(QUEUE_IMAGES, INFLIGHT_IMAGES, QUEUE_LIMIT, QUEUE_AGE, TICK_LAG, BUILD_INFO, WORKERS, RESTARTS),
)

# Every status that the server returns: `rate()` misses the first error unless its series exists before.
CODES = (
    *("OK", "CANCELLED", "DEADLINE_EXCEEDED", "INTERNAL", "INVALID_ARGUMENT", "NOT_FOUND"),
    *("PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAUTHENTICATED", "UNAVAILABLE"),
)
# The stages of a unary call; they add up to its duration.
STAGES = ("queue", "compute", "rest")
EXPECTED = (
    *((BATCHES, reason) for reason in ("idle", "quiet", "full", "retry")),
    *((REJECTED, reason) for reason in ("queue_full", "deadline", "calls", "bytes")),
    *((DROPPED, reason) for reason in ("cancelled", "expired")),
    *((MODEL_LOADS, result) for result in ("loaded", "refused")),
    *((CAPTURED, why) for why in ("uncertain", "sample")),
    *((CAPTURE_SKIPPED, reason) for reason in ("busy", "full", "failed")),
)


def versions_of(metric: Metric, *snapshots: Snapshot) -> set[Labels]:
    """Return model and version of each series of a metric."""
    return {series.labels[:2] for each in snapshots for series in each.metrics.get(metric.name, ())}


def of_versions(snapshot: Snapshot, versions: set[Labels]) -> Snapshot:
    """Return a snapshot without the series of other versions."""
    shown = {
        metric.name: [
            series for series in snapshot.metrics.get(metric.name, ()) if series.labels[:2] in versions
        ]
        for metric in VERSION_METRICS
    }
    return Snapshot(snapshot.metrics | shown)


def of_serving(snapshot: Snapshot) -> Snapshot:
    """Return a snapshot without the series of versions that do not serve."""
    return of_versions(snapshot, versions_of(MODEL_INFO, snapshot))
