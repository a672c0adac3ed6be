from pathlib import Path
from typing import get_args

import numpy as np
import onnx
import pytest

from trainer.backend import keras
from trainer.export import export_onnx
from trainer.layers import Activation, AveragePooling2D, Conv2D, Dense, Flatten, Permute, Rescaling, Reshape
from trainer.network import served_network
from trainer.prediction import keras_predictor, onnx_predictor
from trainer.recipe import Fit, Recipe, load_recipe, shipped_recipes

IMAGES = np.random.default_rng(1).integers(0, 256, (7, 784), np.uint8)


def exported(recipe: Recipe, path: Path) -> onnx.ModelProto:
    """Export random weights, check the answers, and return the graph."""
    keras.utils.set_random_seed(1)
    network = served_network(recipe)
    for layer in network.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.random.default_rng(2).normal(size=layer.bias.shape))
    export_onnx(network, path, {"recipe": recipe.name})
    expected = keras_predictor(network)(IMAGES)
    np.testing.assert_allclose(onnx_predictor(path)(IMAGES), expected, atol=1e-5)
    return onnx.load(path)


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_graphs_have_nothing_to_spare(name: str, tmp_path: Path) -> None:
    model = exported(load_recipe(name), tmp_path / "model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {"Cast", "Reshape", "Conv", "Relu", "MaxPool", "Gemm", "Softmax"}


def test_digits_graph_is_eleven_nodes_named_by_kind(tmp_path: Path) -> None:
    model = exported(load_recipe("digits"), tmp_path / "model.onnx")
    assert [node.name for node in model.graph.node] == [
        *("cast_1", "reshape_1", "conv_1", "relu_1", "maxpool_1", "conv_2", "relu_2", "maxpool_2"),
        *("reshape_2", "gemm_1", "softmax_1"),
    ]
    assert sorted(tensor.name for tensor in model.graph.initializer) == [
        *("conv_1_bias", "conv_1_weights", "conv_2_bias", "conv_2_weights"),
        *("gemm_1_bias", "gemm_1_weights", "reshape_1_shape", "reshape_2_shape"),
    ]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("recipe", "digits")]
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)


def test_scaling_with_an_offset_stays_in_the_graph(tmp_path: Path) -> None:
    layers = (
        Rescaling(1 / 127.5, -1.0),
        Reshape((28, 28, 1)),
        Conv2D(2, padding="same"),
        Flatten(),
        Dense(10, "softmax"),
    )
    model = exported(Recipe("", layers, Fit(1, 1), name="offset"), tmp_path / "model.onnx")
    assert {"Mul", "Add"} <= {node.op_type for node in model.graph.node}


def test_every_activation_is_exported(tmp_path: Path) -> None:
    layers = (
        *(Rescaling(1 / 255), Reshape((28, 28, 1))),
        *(Conv2D(2, activation=activation) for activation in get_args(Activation)),
        *(Flatten(), Dense(10, "softmax")),
    )
    exported(Recipe("", layers, Fit(1, 1), name="every"), tmp_path / "model.onnx")


def test_network_of_another_shape_is_exported_as_it_is(tmp_path: Path) -> None:
    layers = (
        Rescaling(1 / 255),
        Dense(49, "tanh"),
        Reshape((7, 7, 1)),
        Permute((2, 1, 3)),
        AveragePooling2D(),
        Flatten(),
        Dense(10),
        Dense(10, "softmax"),
    )
    exported(Recipe("", layers, Fit(1, 1), name="other"), tmp_path / "model.onnx")
