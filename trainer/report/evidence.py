"""Measurements of a run's model, and metrics.json."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.export.predictor import (
    keras_predictor,
    load_model,
    load_network,
    measure_latency,
    verify_parity,
)
from trainer.report.robustness import measure_out_of_distribution, measure_robustness
from trainer.report.scores import Curves, Metrics, digit_curves, score
from trainer.run import Epoch, Run


@dataclass(frozen=True, eq=False)
class Evidence:
    """Test images and digits, and what a run's exported graph makes of them.

    `probabilities` are float32 [n, 10] of `x_test`; imported models have no `network` and no `history`.
    """

    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    curves: tuple[Curves, ...]
    metrics: Metrics
    network: Any | None
    history: tuple[Epoch, ...]

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable digits [n]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @property
    def confusion(self) -> NDArray[np.int64]:
        """Counts of images [10, 10] by true and predicted digit."""
        return np.array(self.metrics["confusion_matrix"], np.int64)


def gather(
    run: Run, facts: dict[str, Any], dataset: Dataset, begin: Callable[[str], None] = lambda _: None
) -> Evidence:
    """Measure a run's exported graph on the test images.

    `facts` are those of the manifest; `begin` is called with predict, robustness and latency at their start.
    Raises TrainerError if a model cannot be loaded, ParityError if graph and Keras network disagree, and
    OSError if the report folder cannot be made.
    """
    run.report.mkdir(exist_ok=True)  # fails before the measurements, which take half a minute
    begin("predict")
    x_test, y_test = dataset.x_test, dataset.y_test
    predict = load_model(run.model)
    probabilities = predict(x_test)
    metrics = score(y_test, probabilities)
    curves = digit_curves(y_test, probabilities)
    for each in curves:
        metrics[f"digit_{each.digit}_roc_auc"] = each.auroc
        metrics[f"digit_{each.digit}_average_precision"] = each.average_precision
    network: Any | None = None
    history: tuple[Epoch, ...] = ()
    if "imported" not in facts:
        network, history = load_network(run.network), run.read_history()
        metrics |= {
            "validation_accuracy": history[facts.get("exported_epoch", -1)].val_accuracy,
            "epochs": len(history),
            "fit_duration_seconds": round(sum(epoch.duration_seconds for epoch in history), 1),
            "parity_images": len(y_test),
            "parity_max_difference": verify_parity(keras_predictor(network)(x_test), probabilities),
        }
    metrics |= {"parameters": facts["parameters"], "model_bytes": run.model.stat().st_size}
    begin("robustness")
    metrics |= measure_robustness(predict, x_test, y_test)
    metrics |= measure_out_of_distribution(predict, x_test, probabilities.max(axis=1))
    begin("latency")
    metrics |= measure_latency(run.model, x_test)
    if run.integer_model.exists():
        digits = load_model(run.integer_model)(x_test).argmax(axis=1)
        metrics |= {
            "int8_test_accuracy": float((digits == y_test).mean()),
            "int8_same_digits_share": float((digits == probabilities.argmax(axis=1)).mean()),
            "int8_model_bytes": run.integer_model.stat().st_size,
            **measure_latency(run.integer_model, x_test, "int8_"),
        }
    return Evidence(x_test, y_test, probabilities, curves, metrics, network, history)


def metrics_text(table: Metrics) -> str:
    """Return the table as JSON, with a line per row of the confusion matrix, and null for NaN."""
    matrix = ",\n    ".join(json.dumps(row) for row in table["confusion_matrix"])
    numbers = {key: _rounded(value) for key, value in table.items() if key != "confusion_matrix"}
    rest = json.dumps(numbers, indent=2, allow_nan=False)
    return rest[:-2] + f',\n  "confusion_matrix": [\n    {matrix}\n  ]\n}}\n'


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # Seven significant digits, more than the precision of any measurement.
    return float(f"{value:.7g}") if math.isfinite(value) else None
