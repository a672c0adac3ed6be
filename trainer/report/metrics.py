"""metrics.json: one flat table, units in the names."""

import json
from pathlib import Path
from typing import Any

from trainer.evaluation.counts import Evaluation
from trainer.parity import Parity


def metrics_table(evaluation: Evaluation, parity: Parity, extra: dict[str, Any]) -> dict[str, Any]:
    """Return the metrics of one version; `extra` are facts of the run that made it."""
    table: dict[str, Any] = {
        "test_accuracy": evaluation.accuracy,
        "test_images": evaluation.images,
        "test_errors_images": evaluation.images - int(evaluation.confusion.trace()),
        **extra,
        "parity_images": parity.images,
        "parity_max_difference": parity.max_difference,
    }
    for digit in range(10):
        table[f"digit_{digit}_precision"] = float(evaluation.precision[digit])
        table[f"digit_{digit}_recall"] = float(evaluation.recall[digit])
        table[f"digit_{digit}_f1"] = float(evaluation.f1[digit])
    table["confusion_matrix"] = evaluation.confusion.tolist()
    return table


def write_metrics(path: Path, table: dict[str, Any]) -> None:
    """Write the metrics, a row of the confusion matrix a line."""
    matrix = ",\n    ".join(json.dumps(row) for row in table["confusion_matrix"])
    rest = json.dumps({k: v for k, v in table.items() if k != "confusion_matrix"}, indent=2)
    path.write_text(rest[:-2] + f',\n  "confusion_matrix": [\n    {matrix}\n  ]\n}}\n', encoding="utf-8")
