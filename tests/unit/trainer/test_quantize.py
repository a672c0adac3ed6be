from pathlib import Path

import numpy as np
import onnx
import pytest

from trainer.backend import keras
from trainer.errors import TrainerError
from trainer.export import export_onnx
from trainer.network import served_network
from trainer.prediction import onnx_predictor
from trainer.quantize import quantize
from trainer.recipe import Recipe, load_recipe, parse_recipe
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
