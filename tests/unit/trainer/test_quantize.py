from pathlib import Path
from typing import Literal

import numpy as np
import onnx
import pytest

from trainer.backend import keras
from trainer.data.sample import load_sample
from trainer.errors import TrainerError
from trainer.export import export_onnx
from trainer.layers import Conv2D, Dense, Flatten, MaxPooling2D, Rescaling, Reshape
from trainer.network import served_network
from trainer.prediction import onnx_predictor
from trainer.quantize import quantize
from trainer.recipe import Fit, Recipe, load_recipe, parse_recipe
from trainer.speed import speed_ratio

IMAGES = np.random.default_rng(1).integers(0, 256, (300, 784), np.uint8)

NO_CONVOLUTION = """
summary = "dense"
[[layers]]
kind = "dense"
units = 10
activation = "softmax"
[fit]
epochs = 1
batch_size = 1
"""


def export(recipe: Recipe, path: Path) -> Path:
    keras.utils.set_random_seed(1)
    network = served_network(recipe)
    rng = np.random.default_rng(2)
    for layer in network.layers:
        if getattr(layer, "bias", None) is not None:
            layer.bias.assign(rng.normal(0, 0.1, size=layer.bias.shape))
    export_onnx(network, path, {"recipe": recipe.name})
    return path


@pytest.mark.parametrize("name", ["digits", "fast", "accurate"])
def test_integer_graph_answers_nearly_as_the_float_one(name: str, tmp_path: Path) -> None:
    source = export(load_recipe(name), tmp_path / "model.onnx")
    quantize(source, tmp_path / "int8.onnx", IMAGES)
    in_float, in_integers = (onnx_predictor(path)(IMAGES) for path in (source, tmp_path / "int8.onnx"))
    assert np.abs(in_float - in_integers).max() < 0.05
    assert (in_float.argmax(axis=1) == in_integers.argmax(axis=1)).mean() > 0.9


@pytest.mark.parametrize(
    ("recipe", "pooled_first", "convolutions"),
    [
        ("digits", True, ["QLinearConv", "QLinearConv"]),
        ("fast", False, ["Conv", "QLinearConv", "QLinearConv"]),
    ],
)
def test_first_convolution_is_in_bytes_where_a_pool_follows(
    recipe: str, pooled_first: bool, convolutions: list[str], tmp_path: Path
) -> None:
    source = export(load_recipe(recipe), tmp_path / "model.onnx")
    quantize(source, tmp_path / "int8.onnx", IMAGES)
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert [kind for kind in kinds if "Conv" in kind] == convolutions
    assert (kinds[1] == "Pad") == pooled_first


@pytest.mark.parametrize(
    ("size", "padding", "in_float"),
    [((5, 5), "valid", 0), ((3, 1), "same", 0), ((5, 3), "same", 0), ((2, 2), "same", 1)],
)
def test_first_convolution_of_any_odd_size_is_in_bytes(
    size: tuple[int, int], padding: Literal["valid", "same"], in_float: int, tmp_path: Path
) -> None:
    images = load_sample().x_test[:200]
    layers = (
        *(Rescaling(1 / 255), Reshape((28, 28, 1))),
        *(Conv2D(8, size, padding=padding, activation="relu"), MaxPooling2D()),
        *(Conv2D(16, activation="relu"), Flatten(), Dense(10, "softmax")),
    )
    source = export(Recipe("", layers, Fit(1, 1), name="other"), tmp_path / "model.onnx")
    quantize(source, tmp_path / "int8.onnx", images)
    kinds = [node.op_type for node in onnx.load(tmp_path / "int8.onnx").graph.node]
    assert kinds.count("Conv") == in_float
    np.testing.assert_allclose(
        onnx_predictor(tmp_path / "int8.onnx")(images), onnx_predictor(source)(images), atol=0.02
    )


def test_integer_graph_keeps_the_contract_and_is_smaller(tmp_path: Path) -> None:
    source = export(load_recipe("digits"), tmp_path / "model.onnx")
    target = tmp_path / "int8.onnx"
    quantize(source, target, IMAGES)
    before, after = onnx.load(source), onnx.load(target)
    assert list(after.graph.input) == list(before.graph.input)
    assert list(after.graph.output) == list(before.graph.output)
    assert list(after.metadata_props) == list(before.metadata_props)
    assert target.stat().st_size < source.stat().st_size


def test_brightest_and_darkest_images_do_not_overflow(tmp_path: Path) -> None:
    source = export(load_recipe("digits"), tmp_path / "model.onnx")
    quantize(source, tmp_path / "int8.onnx", IMAGES)
    kernel = next(
        onnx.numpy_helper.to_array(t)
        for t in onnx.load(source).graph.initializer
        if t.name == "conv_1_weights"
    )
    # An image that drives one channel of the first convolution as high as it can go, everywhere it fits.
    bright = np.where(np.tile(kernel[0, 0] > 0, (10, 10))[:28, :28], 255, 0).astype(np.uint8)
    images = np.stack([bright, np.full((28, 28), 255, np.uint8), np.zeros((28, 28), np.uint8)]).reshape(
        3, 784
    )
    np.testing.assert_allclose(
        onnx_predictor(tmp_path / "int8.onnx")(images), onnx_predictor(source)(images), atol=0.05
    )


def test_graph_of_another_form_is_refused(tmp_path: Path) -> None:
    source = export(parse_recipe(NO_CONVOLUTION, "dense", "r"), tmp_path / "model.onnx")
    with pytest.raises(TrainerError, match=r"model\.onnx: cannot be quantized, expected two or more"):
        quantize(source, tmp_path / "int8.onnx", IMAGES)
    assert not (tmp_path / "int8.onnx").exists()


def test_speed_of_a_graph_beside_itself_is_about_one(tmp_path: Path) -> None:
    source = export(load_recipe("fast"), tmp_path / "model.onnx")
    assert 0.1 < speed_ratio(source, source, IMAGES, 8) < 10
