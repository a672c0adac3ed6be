"""Everything that is measured about a run's model."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data import Dataset
from trainer.errors import TrainerError
from trainer.export.latency import Latency, measure_latency
from trainer.export.predictor import Parity, keras_predictor, load_model, load_network, verify_parity
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
)
from trainer.run import Epoch, Run

STAGES = ("evaluate", "corruptions", "out of distribution", "latency")
"""The stages of `gather`, in order."""

_SETTINGS = ("filters", "units", "kernel_size", "pool_size", "target_shape", "padding", "rate", "activation")


@dataclass(frozen=True)
class Layer:
    """A row of the architecture table; `output_shape` is of one image."""

    kind: str
    settings: str
    output_shape: str
    parameters: int


@dataclass(frozen=True)
class Int8:
    """The 8-bit graph of a run that has one; `same_digits` is the share of the test images."""

    accuracy: float
    same_digits: float
    model_bytes: int
    latency: tuple[Latency, ...]


@dataclass(frozen=True)
class Stable:
    """The version that the run is compared with: its metrics and, on the same test images, McNemar's test."""

    version: int
    metrics: dict[str, Any]
    test: McNemar


@dataclass(frozen=True, eq=False)
class Evidence:
    """A run and the predictions of its exported graph: `probabilities` float32 [n, 10] of `x_test`."""

    manifest: dict[str, Any]
    recipe: Recipe
    recipe_text: str
    history: tuple[Epoch, ...]
    layers: tuple[Layer, ...]
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    scores: Scores
    curves: tuple[Curves, ...]
    robustness: Robustness
    out_of_distribution: tuple[OutOfDistribution, ...]
    parity: Parity
    latency: tuple[Latency, ...]
    model_bytes: int
    keras_bytes: int
    int8: Int8 | None
    stable: Stable | None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable digits [n]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits

    @property
    def fit_duration_seconds(self) -> float:
        """Time spent training."""
        return float(sum(epoch.duration_seconds for epoch in self.history))

    @property
    def validation_accuracy(self) -> float:
        """Accuracy on the validation images after the exported epoch."""
        exported = int(self.manifest.get("exported_epoch", -1))
        return self.history[exported].val_accuracy


def gather(
    run: Run, manifest: dict[str, Any], dataset: Dataset, stable: Path | None, stage: Callable[[str], None]
) -> Evidence:
    """Measure a run's exported graph on the test images of the data it was trained on.

    `stable` is the version folder to compare with; `stage` is called with the name of each stage. Raises
    TrainerError when a model cannot be loaded, or the graph and the Keras network disagree.
    """
    recipe, history = run.read_recipe(), run.read_history()
    x_test, y_test = dataset.x_test, dataset.y_test
    stage(STAGES[0])
    network, predict = load_network(run.network), load_model(run.model)
    probabilities = predict(x_test)
    parity = verify_parity(keras_predictor(network)(x_test), probabilities)
    scores, curves = score(y_test, probabilities), digit_curves(y_test, probabilities)
    stage(STAGES[1])
    robustness = measure_robustness(predict, x_test, y_test)
    stage(STAGES[2])
    out_of_distribution = measure_out_of_distribution(predict, x_test, probabilities.max(axis=1))
    stage(STAGES[3])
    digits = probabilities.argmax(axis=1)
    return Evidence(
        manifest=manifest,
        recipe=recipe,
        recipe_text=run.recipe.read_text(encoding="utf-8"),
        history=history,
        layers=tuple(_layer(layer) for layer in network.layers),
        x_test=x_test,
        y_test=y_test,
        probabilities=probabilities,
        scores=scores,
        curves=curves,
        robustness=robustness,
        out_of_distribution=out_of_distribution,
        parity=parity,
        latency=measure_latency(run.model, x_test),
        model_bytes=run.model.stat().st_size,
        keras_bytes=run.network.stat().st_size,
        int8=_int8(run, x_test, y_test, digits) if run.integer_model.exists() else None,
        stable=_stable(stable, manifest, y_test, digits) if stable is not None else None,
    )


def _layer(layer: Any) -> Layer:
    config = layer.get_config()
    settings = [
        f"{name} {_words(config[name])}"
        for name in _SETTINGS
        if config.get(name) not in (None, "linear", "valid")
    ]
    if set(np.ravel(config.get("strides") or 1)) != {1} and config.get("strides") != config.get("pool_size"):
        settings.append(f"strides {_words(config['strides'])}")
    output = _words(layer.output.shape[1:])
    return Layer(type(layer).__name__, ", ".join(settings), output, layer.count_params())


def _words(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _int8(
    run: Run, x_test: NDArray[np.uint8], y_test: NDArray[np.int64], float_digits: NDArray[np.int64]
) -> Int8:
    digits = load_model(run.integer_model)(x_test).argmax(axis=1)
    return Int8(
        accuracy=float((digits == y_test).mean()),
        same_digits=float((digits == float_digits).mean()),
        model_bytes=run.integer_model.stat().st_size,
        latency=measure_latency(run.integer_model, x_test),
    )


def _stable(
    folder: Path, manifest: dict[str, Any], y_test: NDArray[np.int64], digits: NDArray[np.int64]
) -> Stable | None:
    """Return the comparison with a published version; None where it was tested on other images."""
    try:
        theirs = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        metrics = json.loads((folder / "report" / "metrics.json").read_text(encoding="utf-8"))
        digest = "test_sha256" if "test_sha256" in theirs["data"] else "sha256"
        same = theirs["data"][digest] == manifest["data"][digest]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"{folder}: cannot be compared with: {error}") from error
    if not same:
        return None
    mine = {int(i) for i in np.flatnonzero(digits != y_test)}
    wrong = read_misclassified(folder / "report" / MISCLASSIFIED)
    return Stable(int(folder.name), metrics, compare_misclassified(len(y_test), mine, wrong))
