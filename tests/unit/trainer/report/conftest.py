"""A finished run with a linear network, so that reports need no training."""

from typing import Any

import numpy as np
import pytest

from trainer.backend import keras
from trainer.data.dataset import Dataset, load_data
from trainer.export.onnx import export_onnx
from trainer.export.predictor import load_model
from trainer.recipe import load_recipe
from trainer.report.evidence import Evidence, gather
from trainer.report.page import write_report
from trainer.repository.manifest import golden_positions, golden_table, manifest_table
from trainer.run import Epoch, Run


@pytest.fixture(scope="session")
def sample() -> Dataset:
    return load_data("sample")


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Run:
    """A run directory before the report and the manifest."""
    run = Run(tmp_path_factory.mktemp("run") / "linear")
    run.begin(load_recipe("digits"), "fingerprint", "sample", resume=False, overwrite=True)
    network = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, "softmax", use_bias=False)])
    network.set_weights([ridge(sample)])
    run.write_network(network)
    export_onnx(network, run.model, {})
    run.write_history([epoch(i) for i in range(3)])
    return run


@pytest.fixture(scope="session")
def manifest(run: Run, sample: Dataset) -> dict[str, Any]:
    probabilities = load_model(run.model)(sample.x_test)
    golden = golden_positions(sample.y_test)
    facts = {
        "recipe": "digits",
        "seed": 1,
        "parameters": 7840,
        "exported_epoch": 1,
        "data": {
            **sample.identity,
            "train_images": 3600,
            "validation_images": 400,
        },
    }
    accuracy = float((probabilities.argmax(axis=1) == sample.y_test).mean())
    return manifest_table(
        run.folder, facts, golden_table(sample.x_test[golden], probabilities[golden]), accuracy
    )


@pytest.fixture(scope="session")
def evidence(run: Run, manifest: dict[str, Any], sample: Dataset) -> Evidence:
    """The evidence of the run; its report folder is written."""
    evidence = gather(run, manifest, sample)
    write_report(run, manifest, evidence)
    return evidence


def ridge(sample: Dataset) -> np.ndarray:
    """Weights [784, 10] of ridge regression onto the digits, right four times in five."""
    x, y = sample.x_train / 255.0, np.eye(10)[sample.y_train]
    weights = np.linalg.solve(x.T @ x + 50 * np.eye(784), x.T @ y)
    return (5 * weights / 255).astype(np.float32)


def epoch(index: int) -> Epoch:
    return Epoch(
        epoch=index + 1,
        epochs=3,
        loss=1 / (index + 1),
        accuracy=1 - 0.3 / (index + 1),
        val_loss=0.5 / (index + 1),
        val_accuracy=1 - 0.2 / (index + 1),
        learning_rate=1e-3,
        duration_seconds=1.5,
    )
