"""A finished run whose network is linear and was fitted in a moment, so that reports need no training."""

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer.backend import keras
from trainer.data.dataset import Dataset
from trainer.data.sample import load_sample
from trainer.manifest import DataFacts, Manifest, choose_golden, manifest_table
from trainer.observer import Epoch
from trainer.prediction import load_model
from trainer.recipe import load_recipe
from trainer.report.evidence import Evidence, gather_evidence
from trainer.report.record import read_record, write_data_source
from trainer.run import Run


@pytest.fixture(scope="session")
def sample() -> Dataset:
    return load_sample()


@pytest.fixture(scope="session")
def run(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Run:
    """A run directory as train leaves it before it writes the report; the folder lacks a manifest too."""
    run = Run(tmp_path_factory.mktemp("run") / "linear")
    run.begin(load_recipe("digits"), "fingerprint", resume=False)
    weights = ridge(sample)
    write_models(run, weights)
    run.write_history([epoch(i) for i in range(3)])
    write_data_source(run, "sample")
    return run


@pytest.fixture(scope="session")
def manifest(run: Run, sample: Dataset) -> dict[str, Any]:
    answers = load_model(run.model)(sample.x_test)
    facts = Manifest(
        recipe="digits",
        seed=1,
        parameters=7840,
        data=DataFacts(sample.name, sample.sha256, 3600, 400, 1000),
        libraries={"numpy": "2"},
        source_commit=None,
        test_accuracy=float((answers.argmax(axis=1) == sample.y_test).mean()),
        golden=choose_golden(sample.x_test, sample.y_test, answers),
    )
    return manifest_table(facts, run.folder)


@pytest.fixture(scope="session")
def evidence(run: Run, manifest: dict[str, Any], sample: Dataset) -> Evidence:
    return gather_evidence(run, read_record(run, manifest), sample)


def ridge(sample: Dataset) -> np.ndarray:
    """Weights [784, 10] of ridge regression onto the digits, right four times in five."""
    x, y = sample.x_train / 255.0, np.eye(10)[sample.y_train]
    weights = np.linalg.solve(x.T @ x + 50 * np.eye(784), x.T @ y)
    return (5 * weights / 255).astype(np.float32)


def write_models(run: Run, weights: np.ndarray) -> None:
    network = keras.Sequential([keras.Input((784,)), keras.layers.Dense(10, "softmax", use_bias=False)])
    network.set_weights([weights])
    run.write_network(network)
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("MatMul", ["pixels", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"]),
        ],
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 784])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(weights, "weights")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    run.model.write_bytes(model.SerializeToString())


def epoch(index: int) -> Epoch:
    return Epoch(
        epoch=index + 1,
        epochs=3,
        loss=1 / (index + 1),
        accuracy=1 - 0.3 / (index + 1),
        validation_loss=0.5 / (index + 1),
        validation_accuracy=1 - 0.2 / (index + 1),
        learning_rate=1e-3,
        duration_seconds=1.5,
    )
