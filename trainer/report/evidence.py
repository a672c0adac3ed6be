"""Measurements of a run's model, and metrics.json."""

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.export.predictor import (
    Latency,
    Parity,
    keras_predictor,
    load_model,
    load_network,
    measure_latency,
    verify_parity,
)
from trainer.recipe import Recipe
from trainer.report.robustness import (
    OutOfDistribution,
    Robustness,
    measure_out_of_distribution,
    measure_robustness,
)
from trainer.report.scores import (
    MISCLASSIFIED,
    Curves,
    McNemar,
    Scores,
    compare_misclassified,
    digit_curves,
    read_misclassified,
    score,
    score_metrics,
)
from trainer.repository.manifest import same_test_images
from trainer.run import Epoch, Run

Metrics = dict[str, Any]

STAGES = ("evaluate", "corruptions", "out of distribution", "latency")
"""The stages of `gather`, in order."""


@dataclass(frozen=True)
class Int8:
    """The 8-bit graph of a run; `same_digits` is a share of the test images.

    `validation_images` is the number of images on which `quantize` decided.
    """

    accuracy: float
    same_digits: float
    validation_images: int
    model_bytes: int
    latency: tuple[Latency, ...]


@dataclass(frozen=True)
class Stable:
    """The comparison with another version: its metrics, and McNemar's test on the same test images."""

    version: int
    metrics: Metrics
    test: McNemar


@dataclass(frozen=True, eq=False)
class Training:
    """The training of a run: its Keras network, and the parity of the exported graph."""

    recipe: Recipe
    recipe_text: str
    history: tuple[Epoch, ...]
    network: Any
    parity: Parity

    @property
    def duration_seconds(self) -> float:
        """Time spent fitting."""
        return float(sum(epoch.duration_seconds for epoch in self.history))


@dataclass(frozen=True, eq=False)
class Evidence:
    """A run and its exported graph's predictions: `probabilities` float32 [n, 10] of `x_test`.

    Imported models have no `training`.
    """

    manifest: dict[str, Any]
    training: Training | None
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    scores: Scores
    curves: tuple[Curves, ...]
    robustness: Robustness
    out_of_distribution: tuple[OutOfDistribution, ...]
    latency: tuple[Latency, ...]
    model_bytes: int
    int8: Int8 | None
    stable: Stable | None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable digits [n]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits


def gather(
    run: Run, manifest: dict[str, Any], dataset: Dataset, stable: Path | None, stage: Callable[[str], None]
) -> Evidence:
    """Measure a run's exported graph on its test images.

    `stable` is the version folder to compare with; `stage` is called with the name of each stage. Raises
    TrainerError if a model cannot be loaded, or graph and Keras network disagree.
    """
    x_test, y_test = dataset.x_test, dataset.y_test
    stage(STAGES[0])
    predict = load_model(run.model)
    probabilities = predict(x_test)
    training = None if "imported" in manifest else _training(run, x_test, probabilities)
    scores, curves = score(y_test, probabilities), digit_curves(y_test, probabilities)
    stage(STAGES[1])
    robustness = measure_robustness(predict, x_test, y_test)
    stage(STAGES[2])
    out_of_distribution = measure_out_of_distribution(predict, x_test, probabilities.max(axis=1))
    stage(STAGES[3])
    digits, int8 = probabilities.argmax(axis=1), None
    if run.integer_model.exists():
        int8_digits = load_model(run.integer_model)(x_test).argmax(axis=1)
        int8 = Int8(
            accuracy=float((int8_digits == y_test).mean()),
            same_digits=float((int8_digits == digits).mean()),
            validation_images=manifest["data"]["validation_images"],
            model_bytes=run.integer_model.stat().st_size,
            latency=measure_latency(run.integer_model, x_test),
        )
    return Evidence(
        manifest=manifest,
        training=training,
        x_test=x_test,
        y_test=y_test,
        probabilities=probabilities,
        scores=scores,
        curves=curves,
        robustness=robustness,
        out_of_distribution=out_of_distribution,
        latency=measure_latency(run.model, x_test),
        model_bytes=run.model.stat().st_size,
        int8=int8,
        stable=_stable(stable, manifest, y_test, digits) if stable is not None else None,
    )


def _training(run: Run, x_test: NDArray[np.uint8], probabilities: NDArray[np.float32]) -> Training:
    recipe, history, network = run.read_recipe(), run.read_history(), load_network(run.network)
    parity = verify_parity(keras_predictor(network)(x_test), probabilities)
    return Training(recipe, run.recipe.read_text(encoding="utf-8"), history, network, parity)


def _stable(
    folder: Path, manifest: dict[str, Any], y_test: NDArray[np.int64], digits: NDArray[np.int64]
) -> Stable | None:
    """Return the comparison with a published version; None if it was tested on other images."""
    try:
        theirs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "report" / "metrics.json").read_text(encoding="utf-8"))
        if not same_test_images(theirs["data"], manifest["data"]):
            return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"{folder}: cannot be compared with: {error}") from error
    mine = {int(i) for i in np.flatnonzero(digits != y_test)}
    wrong = read_misclassified(folder / "report" / MISCLASSIFIED)
    return Stable(int(folder.name), metrics, compare_misclassified(len(y_test), mine, wrong))


def run_metrics(evidence: Evidence) -> Metrics:
    """Return all measurements with the keys of metrics.json."""
    robustness = evidence.robustness
    table = score_metrics(evidence.scores)
    matrix = table.pop("confusion_matrix")
    for curves in evidence.curves:
        table[f"digit_{curves.digit}_roc_auc"] = curves.auroc
        table[f"digit_{curves.digit}_average_precision"] = curves.average_precision
    training = evidence.training
    if training is not None:
        table |= {
            "validation_accuracy": training.history[evidence.manifest.get("exported_epoch", -1)].val_accuracy,
            "epochs": len(training.history),
            "fit_duration_seconds": round(training.duration_seconds, 1),
        }
    table |= {"parameters": evidence.manifest["parameters"], "model_bytes": evidence.model_bytes}
    if training is not None:
        table |= {
            "parity_images": training.parity.images,
            "parity_max_difference": training.parity.max_difference,
        }
    table |= {
        "robustness_images": robustness.images,
        "robustness_clean_accuracy": robustness.clean_accuracy,
        "robustness_mean_accuracy": robustness.mean_accuracy,
        "robustness_worst_accuracy": robustness.accuracy[robustness.worst],
    }
    table |= {f"robustness_{c.name}_{c.key}_accuracy": share for c, share in robustness.accuracy.items()}
    for kind in evidence.out_of_distribution:
        for key in ("mean_confidence", "confident_share", "auroc"):
            table[f"ood_{kind.name}_{key}"] = getattr(kind, key)
    table |= _latency_metrics("", evidence.latency)
    if evidence.int8:
        table |= {
            "int8_test_accuracy": evidence.int8.accuracy,
            "int8_same_digits_share": evidence.int8.same_digits,
            "int8_model_bytes": evidence.int8.model_bytes,
            **_latency_metrics("int8_", evidence.int8.latency),
        }
    return table | {"confusion_matrix": matrix}


def metrics_text(table: Metrics) -> str:
    """Return the table as JSON, with a line per row of the confusion matrix, and null for NaN."""
    matrix = ",\n    ".join(json.dumps(row) for row in table["confusion_matrix"])
    numbers = {key: _rounded(value) for key, value in table.items() if key != "confusion_matrix"}
    rest = json.dumps(numbers, indent=2, allow_nan=False)
    return rest[:-2] + f',\n  "confusion_matrix": [\n    {matrix}\n  ]\n}}\n'


def _latency_metrics(prefix: str, latencies: tuple[Latency, ...]) -> Metrics:
    table: Metrics = {}
    for each in latencies:
        for key in ("p10_seconds", "median_seconds", "p95_seconds"):
            table[f"{prefix}latency_batch_{each.batch_images}_{key}"] = getattr(each, key)
        table[f"{prefix}throughput_batch_{each.batch_images}_images_per_second"] = each.images_per_second
    return table


def _rounded(value: Any) -> Any:
    if not isinstance(value, float):
        return value
    # Seven significant digits, more than the precision of any measurement.
    return float(f"{value:.7g}") if math.isfinite(value) else None
