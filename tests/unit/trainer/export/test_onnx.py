from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from trainer.backend import keras
from trainer.errors import TrainerError
from trainer.export.onnx import export_onnx
from trainer.export.predictor import keras_predictor, onnx_predictor, verify_parity
from trainer.network import served_network
from trainer.recipe import load_recipe, shipped_recipes

IMAGES = np.random.default_rng(1).integers(0, 256, (70, 784), np.uint8)
LAYERS = keras.layers


def exported(network: Any, path: Path) -> onnx.ModelProto:
    """Export with random biases, verify parity, and return the graph."""
    for layer in network.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.random.default_rng(2).normal(size=layer.bias.shape))
    export_onnx(network, path, {"recipe": "any"})
    verify_parity(keras_predictor(network)(IMAGES), onnx_predictor(path)(IMAGES))
    return onnx.load(path)


def network_with(*middle: Any, scale: float = 1 / 255, offset: float = 0.0) -> Any:
    keras.utils.set_random_seed(1)
    layers = [LAYERS.Rescaling(scale, offset), LAYERS.Reshape((28, 28, 1)), *middle]
    return keras.Sequential(
        [keras.Input((784,)), *layers, LAYERS.Flatten(), LAYERS.Dense(10, "softmax")], name="any"
    )


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_graphs_hold_no_superfluous_nodes(name: str, tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = exported(served_network(load_recipe(name)), tmp_path / "model.onnx")
    kinds = {node.op_type for node in model.graph.node}
    assert kinds <= {"Cast", "Reshape", "Conv", "Relu", "MaxPool", "Gemm", "Softmax"}


def test_digits_graph_is_eleven_nodes_named_by_kind(tmp_path: Path) -> None:
    keras.utils.set_random_seed(1)
    model = exported(served_network(load_recipe("digits")), tmp_path / "model.onnx")
    assert [node.name for node in model.graph.node] == [
        *("cast_1", "reshape_1", "conv_1", "relu_1", "maxpool_1", "conv_2", "relu_2", "maxpool_2"),
        *("reshape_2", "gemm_1", "softmax_1"),
    ]
    assert sorted(tensor.name for tensor in model.graph.initializer) == [
        *("conv_1_bias", "conv_1_weights", "conv_2_bias", "conv_2_weights"),
        *("gemm_1_bias", "gemm_1_weights", "reshape_1_shape", "reshape_2_shape"),
    ]
    assert [(entry.key, entry.value) for entry in model.metadata_props] == [("recipe", "any")]
    assert (model.ir_version, model.opset_import[0].version) == (8, 17)


def test_scaling_with_an_offset_stays_in_the_graph(tmp_path: Path) -> None:
    network = network_with(LAYERS.Conv2D(2, 3, padding="same"), scale=1 / 127.5, offset=-1.0)
    model = exported(network, tmp_path / "model.onnx")
    assert {"Mul", "Add"} <= {node.op_type for node in model.graph.node}


@pytest.mark.parametrize(
    "middle",
    [
        lambda: [LAYERS.Conv2D(4, 3), LAYERS.BatchNormalization(), LAYERS.ReLU(6, negative_slope=0.1)],
        lambda: [LAYERS.LayerNormalization(), LAYERS.Conv2D(2, 3, activation="gelu")],
        lambda: [LAYERS.Normalization(mean=3.0, variance=2.0), LAYERS.GroupNormalization(1)],
        lambda: [LAYERS.Conv2DTranspose(3, 3, strides=2, padding="same"), LAYERS.Cropping2D(2)],
        lambda: [LAYERS.SeparableConv2D(3, 3), LAYERS.PReLU(shared_axes=[1, 2]), LAYERS.DepthwiseConv2D(3)],
        lambda: [LAYERS.UpSampling2D(interpolation="bilinear"), LAYERS.MaxPooling2D(4, padding="same")],
        lambda: [LAYERS.Dense(4, "tanh"), LAYERS.Permute((2, 1, 3)), LAYERS.Activation("mish"),
                 LAYERS.GlobalAveragePooling2D(keepdims=True)],
        lambda: [LAYERS.Reshape((28, 28)), LAYERS.Bidirectional(LAYERS.LSTM(4))],
        lambda: [keras.Sequential([LAYERS.Conv2D(2, 3), LAYERS.Flatten(), LAYERS.Dense(16, "elu")])],
    ],
)  # fmt: skip
def test_layers_beyond_the_shipped_recipes_are_exported(middle: Any, tmp_path: Path) -> None:
    exported(network_with(*middle()), tmp_path / "model.onnx")


def test_layer_without_an_onnx_form_is_an_error_in_one_line(tmp_path: Path) -> None:
    network = network_with(LAYERS.Lambda(lambda x: keras.ops.image.gaussian_blur(keras.ops.fft(x, x)[0])))
    with pytest.raises(TrainerError, match="any: cannot be exported to ONNX") as refused:
        export_onnx(network, tmp_path / "model.onnx", {})
    assert "\n" not in str(refused.value)
