"""metrics.json: one flat table, units in the names."""

import json
import math
from typing import Any

from trainer.data import DIGITS
from trainer.export.latency import Latency
from trainer.report.evidence import Evidence
from trainer.report.scores import Scores

Metrics = dict[str, Any]


def score_metrics(scores: Scores) -> Metrics:
    """Return scores in the keys of metrics.json: shares are 0-1, `_low` and `_high` end a 95 % interval."""
    interval = scores.accuracy_interval
    table: Metrics = {
        "test_accuracy": scores.accuracy,
        "test_accuracy_low": interval.low,
        "test_accuracy_high": interval.high,
        "test_images": scores.images,
        "test_errors_images": scores.errors,
        "test_nll_nats": scores.nll_nats,
        "test_brier": scores.brier,
        "test_ece": scores.ece,
    }
    for digit in range(DIGITS):
        recall, precision = scores.recall_interval(digit), scores.precision_interval(digit)
        table |= {
            f"digit_{digit}_images": int(scores.confusion[digit].sum()),
            f"digit_{digit}_precision": float(scores.precision[digit]),
            f"digit_{digit}_precision_low": precision.low,
            f"digit_{digit}_precision_high": precision.high,
            f"digit_{digit}_recall": float(scores.recall[digit]),
            f"digit_{digit}_recall_low": recall.low,
            f"digit_{digit}_recall_high": recall.high,
            f"digit_{digit}_f1": float(scores.f1[digit]),
        }
    return table | {"confusion_matrix": scores.confusion.tolist()}


def run_metrics(evidence: Evidence) -> Metrics:
    """Return all measurements of a run in the keys of metrics.json."""
    robustness = evidence.robustness
    table = score_metrics(evidence.scores)
    matrix = table.pop("confusion_matrix")
    for curves in evidence.curves:
        table[f"digit_{curves.digit}_roc_auc"] = curves.auroc
        table[f"digit_{curves.digit}_average_precision"] = curves.average_precision
    table |= {
        "validation_accuracy": evidence.validation_accuracy,
        "epochs": len(evidence.history),
        "fit_duration_seconds": round(evidence.fit_duration_seconds, 1),
        "parameters": evidence.manifest["parameters"],
        "model_bytes": evidence.model_bytes,
        "parity_images": evidence.parity.images,
        "parity_max_difference": evidence.parity.max_difference,
        "robustness_images": robustness.images,
        "robustness_clean_accuracy": robustness.clean_accuracy,
        "robustness_mean_accuracy": robustness.mean_accuracy,
        "robustness_worst_accuracy": robustness.accuracy[robustness.worst],
    }
    table |= {f"robustness_{c.name}_{c.key}_accuracy": share for c, share in robustness.accuracy.items()}
    for kind in evidence.out_of_distribution:
        table[f"ood_{kind.name}_mean_confidence"] = kind.mean_confidence
        table[f"ood_{kind.name}_confident_share"] = kind.confident_share
        table[f"ood_{kind.name}_auroc"] = kind.auroc
    table |= _latency_metrics("", evidence.latency)
    if evidence.int8:
        table["int8_test_accuracy"] = evidence.int8.accuracy
        table["int8_same_digits_share"] = evidence.int8.same_digits
        table["int8_model_bytes"] = evidence.int8.model_bytes
        table |= _latency_metrics("int8_", evidence.int8.latency)
    return table | {"confusion_matrix": matrix}


def metrics_text(table: Metrics) -> str:
    """Return the table as JSON, a row of the confusion matrix a line; what is not a number is null."""
    matrix = ",\n    ".join(json.dumps(row) for row in table["confusion_matrix"])
    numbers = {key: _rounded(value) for key, value in table.items() if key != "confusion_matrix"}
    rest = json.dumps(numbers, indent=2, allow_nan=False)
    return rest[:-2] + f',\n  "confusion_matrix": [\n    {matrix}\n  ]\n}}\n'


def _latency_metrics(prefix: str, latencies: tuple[Latency, ...]) -> Metrics:
    table: Metrics = {}
    for each in latencies:
        table |= {
            f"{prefix}latency_batch_{each.batch_images}_p10_seconds": each.p10_seconds,
            f"{prefix}latency_batch_{each.batch_images}_median_seconds": each.median_seconds,
            f"{prefix}latency_batch_{each.batch_images}_p95_seconds": each.p95_seconds,
            f"{prefix}throughput_batch_{each.batch_images}_images_per_second": each.images_per_second,
        }
    return table


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # Seven significant digits: more than any of these numbers can be measured to.
    return float(f"{value:.7g}") if math.isfinite(value) else None
