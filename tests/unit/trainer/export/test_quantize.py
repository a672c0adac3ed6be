from pathlib import Path
from typing import Any, Literal

import numpy as np
import onnx
import pytest

from trainer.backend import keras
from trainer.data.dataset import load_data
from trainer.errors import TrainerError
from trainer.export.onnx import export_onnx
from trainer.export.predictor import keras_predictor, onnx_predictor
from trainer.export.quantize import quantize
from trainer.network import served_network
from trainer.recipe import load_recipe

IMAGES = np.random.default_rng(1).integers(0, 256, (300, 784), np.uint8)
LAYERS = keras.layers


def shipped(name: str) -> Any:
    keras.utils.set_random_seed(1)
    network = served_network(load_recipe(name))
    for layer in network.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(np.random.default_rng(2).normal(0, 0.1, layer.bias.shape))
    return network


def kinds(path: Path) -> list[str]:
    return [node.op_type for node in onnx.load(path).graph.node]


@pytest.mark.parametrize(
    ("name", "convolutions"),
    [
        ("digits", ["QLinearConv"] * 2),
        ("fast", ["Conv"] + ["QLinearConv"] * 2),
        ("accurate", ["Conv"] + ["QLinearConv"] * 5),
    ],
)
def test_8_bit_graph_of_a_shipped_recipe_is_close_to_keras_and_smaller(
    name: str, convolutions: list[str], tmp_path: Path
) -> None:
    network = shipped(name)
    int8, in_float = tmp_path / "int8.onnx", tmp_path / "float.onnx"
    export_onnx(network, in_float, {"recipe": name})
    quantize(network, int8, IMAGES, {"recipe": name})
    expected, found = keras_predictor(network)(IMAGES), onnx_predictor(int8)(IMAGES)
    assert np.abs(expected - found).max() < 0.05
    assert (expected.argmax(axis=1) == found.argmax(axis=1)).mean() > 0.9
    assert [kind for kind in kinds(int8) if "Conv" in kind] == convolutions
    assert int8.stat().st_size < in_float.stat().st_size
    ours, theirs = onnx.load(int8), onnx.load(in_float)
    assert list(ours.graph.input) == list(theirs.graph.input)
    assert list(ours.graph.output) == list(theirs.graph.output)
    assert list(ours.metadata_props) == list(theirs.metadata_props)


@pytest.mark.parametrize(
    ("size", "padding", "in_float"),
    [((5, 5), "valid", 0), ((3, 1), "same", 0), ((5, 3), "same", 0), ((2, 2), "same", 1)],
)
def test_first_convolution_of_any_odd_size_with_a_pool_becomes_space_to_depth(
    size: tuple[int, int], padding: Literal["valid", "same"], in_float: int, tmp_path: Path
) -> None:
    keras.utils.set_random_seed(1)
    images = load_data("sample").x_test[::5]
    layers = [
        *(keras.Input((784,)), LAYERS.Rescaling(1 / 255), LAYERS.Reshape((28, 28, 1))),
        *(LAYERS.Conv2D(8, size, padding=padding, activation="relu"), LAYERS.MaxPooling2D()),
        *(
            LAYERS.Conv2D(16, 3, strides=2, padding="same", activation="relu", use_bias=False),
            LAYERS.Flatten(),
        ),
        *(LAYERS.Dropout(0.5), LAYERS.Dense(10, "softmax")),
    ]
    network = keras.Sequential(layers)
    quantize(network, tmp_path / "int8.onnx", images, {})
    assert kinds(tmp_path / "int8.onnx").count("Conv") == in_float
    expected = keras_predictor(network)(images)
    np.testing.assert_allclose(onnx_predictor(tmp_path / "int8.onnx")(images), expected, atol=0.02)


def test_brightest_and_darkest_images_do_not_overflow(tmp_path: Path) -> None:
    network = shipped("digits")
    quantize(network, tmp_path / "int8.onnx", IMAGES, {})
    kernel = next(layer for layer in network.layers if isinstance(layer, LAYERS.Conv2D)).get_weights()[0]
    # An image that drives one channel of the first convolution as high as possible, everywhere it fits.
    bright = np.where(np.tile(kernel[:, :, 0, 0] > 0, (10, 10))[:28, :28], 255, 0).astype(np.uint8)
    images = np.stack([bright, np.full((28, 28), 255, np.uint8), np.zeros((28, 28), np.uint8)]).reshape(
        3, 784
    )
    expected = keras_predictor(network)(images)
    np.testing.assert_allclose(onnx_predictor(tmp_path / "int8.onnx")(images), expected, atol=0.05)


@pytest.mark.parametrize(
    "middle",
    [
        lambda: [LAYERS.Conv2D(4, 3, activation="relu")],
        lambda: [LAYERS.Conv2D(4, 3, activation="relu"), LAYERS.Conv2D(4, 3, activation="tanh")],
        lambda: [LAYERS.Conv2D(4, 3, activation="relu"), LAYERS.ReLU(),
                 LAYERS.Conv2D(4, 3, activation="relu")],
    ],
)  # fmt: skip
def test_network_of_another_form_is_refused(middle: Any, tmp_path: Path) -> None:
    layers = [LAYERS.Reshape((28, 28, 1)), *middle(), LAYERS.Flatten(), LAYERS.Dense(10, "softmax")]
    network = keras.Sequential([keras.Input((784,)), *layers], name="other")
    with pytest.raises(TrainerError, match="other: cannot be quantized, expected two or more"):
        quantize(network, tmp_path / "int8.onnx", IMAGES, {})
    assert not (tmp_path / "int8.onnx").exists()
