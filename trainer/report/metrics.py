"""metrics.json: one flat table, units in the names."""

import json
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from trainer.evaluation.calibration import Calibration
from trainer.evaluation.counts import Evaluation
from trainer.evaluation.interval import wilson
from trainer.evaluation.latency import Latency
from trainer.report.evidence import Evidence

Metrics = dict[str, Any]


def score_metrics(evaluation: Evaluation, calibration: Calibration) -> Metrics:
    """Return how well digits were told apart; every share is 0-1, `_low` and `_high` end a 95 % interval."""
    right = int(evaluation.confusion.trace())
    interval = wilson(right, evaluation.images)
    table: Metrics = {
        "test_accuracy": evaluation.accuracy,
        "test_accuracy_low": interval.low,
        "test_accuracy_high": interval.high,
        "test_images": evaluation.images,
        "test_errors_images": evaluation.errors,
        "test_nll_nats": calibration.nll,
        "test_brier": calibration.brier,
        "test_ece": calibration.ece,
    }
    for digit in range(10):
        own, as_digit = evaluation.confusion[digit].sum(), evaluation.confusion[:, digit].sum()
        hits = int(evaluation.confusion[digit, digit])
        recall, precision = wilson(hits, int(own)), wilson(hits, int(as_digit))
        table |= {
            f"digit_{digit}_images": int(own),
            f"digit_{digit}_precision": float(evaluation.precision[digit]),
            f"digit_{digit}_precision_low": precision.low,
            f"digit_{digit}_precision_high": precision.high,
            f"digit_{digit}_recall": float(evaluation.recall[digit]),
            f"digit_{digit}_recall_low": recall.low,
            f"digit_{digit}_recall_high": recall.high,
            f"digit_{digit}_f1": float(evaluation.f1[digit]),
        }
    table["confusion_matrix"] = evaluation.confusion.tolist()
    return table


def run_metrics(evidence: Evidence) -> Metrics:
    """Return everything that was measured about a run."""
    record, parity, robustness = evidence.record, evidence.parity, evidence.robustness
    table = score_metrics(evidence.evaluation, evidence.calibration)
    matrix = table.pop("confusion_matrix")
    for curves in evidence.curves:
        table[f"digit_{curves.digit}_roc_auc"] = curves.roc_auc
        table[f"digit_{curves.digit}_average_precision"] = curves.average_precision
    table |= {
        "validation_accuracy": record.validation_accuracy,
        "epochs": len(record.history),
        "fit_duration_seconds": round(record.fit_duration_seconds, 1),
        "parameters": record.manifest["parameters"],
        "model_bytes": evidence.model_bytes,
        "parity_images": parity.images,
        "parity_max_difference": parity.max_difference,
        "robustness_images": robustness.images,
        "robustness_clean_accuracy": robustness.clean_accuracy,
        "robustness_mean_accuracy": robustness.mean_accuracy,
        "robustness_worst_accuracy": robustness.worst.accuracy,
    }
    for each in robustness.resistances:
        table[f"robustness_{each.corruption.name}_{each.level.key}_accuracy"] = each.accuracy
    for kind in evidence.unfamiliar:
        table[f"unfamiliar_{kind.name}_mean_confidence"] = kind.mean_confidence
        table[f"unfamiliar_{kind.name}_confident_share"] = kind.confident_share
        table[f"unfamiliar_{kind.name}_separation"] = kind.separation
    table |= _latency_metrics("", evidence.latency)
    if evidence.integers:
        table |= {
            "int8_test_accuracy": evidence.integers.accuracy,
            "int8_same_digits_share": evidence.integers.same_digits,
            "int8_model_bytes": evidence.integers.model_bytes,
        }
        table |= _latency_metrics("int8_", evidence.integers.latency)
    table["confusion_matrix"] = matrix
    return table


def _latency_metrics(prefix: str, latencies: Iterable[Latency]) -> Metrics:
    table: Metrics = {}
    for each in latencies:
        size = each.batch_images
        table |= {
            f"{prefix}latency_batch_{size}_p10_seconds": each.p10_seconds,
            f"{prefix}latency_batch_{size}_median_seconds": each.median_seconds,
            f"{prefix}latency_batch_{size}_p95_seconds": each.p95_seconds,
            f"{prefix}throughput_batch_{size}_images_per_second": each.images_per_second,
        }
    return table


def metrics_text(table: Metrics) -> str:
    """Return the table as JSON, a row of the confusion matrix a line; what is not a number is null."""
    matrix = ",\n    ".join(json.dumps(row) for row in table["confusion_matrix"])
    numbers = {key: _rounded(value) for key, value in table.items() if key != "confusion_matrix"}
    rest = json.dumps(numbers, indent=2, allow_nan=False)
    return rest[:-2] + f',\n  "confusion_matrix": [\n    {matrix}\n  ]\n}}\n'


def write_metrics(path: Path, table: Metrics) -> None:
    """Write metrics.json."""
    path.write_text(metrics_text(table), encoding="utf-8")


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # Seven significant digits: more than any of these numbers can be measured to.
    return float(f"{value:.7g}") if math.isfinite(value) else None
