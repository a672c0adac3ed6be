import json
from pathlib import Path
from typing import Any

import pytest

from trainer.errors import RecipeError
from trainer.keras_json import read_architecture
from trainer.network import served_network
from trainer.recipe import load_recipe, shipped_recipes, with_architecture


def tutorial_config() -> dict[str, Any]:
    """The tutorial's architecture as its model-config tool writes it: Keras 2, input shape in a layer."""

    def layer(name: str, **config: Any) -> dict[str, Any]:
        return {"class_name": name, "config": {"name": name.lower(), "trainable": True, **config}}

    def conv(filters: int, padding: str) -> dict[str, Any]:
        return layer(
            "Conv2D",
            filters=filters,
            kernel_size=[3, 3],
            strides=[1, 1],
            padding=padding,
            data_format="channels_last",
            dilation_rate=[1, 1],
            activation="relu",
            use_bias=True,
            kernel_initializer={"class_name": "GlorotUniform", "config": {"seed": None}},
            bias_initializer={"class_name": "Zeros", "config": {}},
            kernel_regularizer=None,
            activity_regularizer=None,
            kernel_constraint=None,
        )

    pool = layer(
        "MaxPooling2D", pool_size=[2, 2], strides=[2, 2], padding="valid", data_format="channels_last"
    )
    layers = [
        layer("Reshape", batch_input_shape=[None, 784], dtype="float32", target_shape=[28, 28, 1]),
        conv(64, "same"),
        pool,
        conv(32, "valid"),
        pool,
        layer("Flatten", data_format="channels_last"),
        layer("Dense", units=10, activation="softmax", use_bias=True, kernel_regularizer=None),
    ]
    return {"class_name": "Sequential", "config": {"name": "s", "layers": layers}, "keras_version": "2.3.1"}


def write(path: Path, table: Any) -> Path:
    path.write_text(json.dumps(table))
    return path


def test_tutorials_own_config_is_the_tutorial_recipe(tmp_path: Path) -> None:
    read = served_network(
        with_architecture(load_recipe("tutorial"), write(tmp_path / "t.json", tutorial_config()))
    )
    assert [w.shape for w in read.weights] == [
        w.shape for w in served_network(load_recipe("tutorial")).weights
    ]


@pytest.mark.parametrize("name", shipped_recipes())
def test_what_keras_writes_reads_as_the_same_network(name: str, tmp_path: Path) -> None:
    network = served_network(load_recipe(name))
    path = tmp_path / "architecture.json"
    path.write_text(network.to_json())
    again = served_network(with_architecture(load_recipe("tutorial"), path))
    assert [layer.output.shape for layer in again.layers] == [layer.output.shape for layer in network.layers]


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("config", "layers", 1, "config", "use_bias"),
            False,
            r"layers\[1\] \(Conv2D\)\.use_bias: False, expected True",
        ),
        (
            ("config", "layers", 1, "config", "data_format"),
            "channels_first",
            r"data_format: 'channels_first', expected",
        ),
        (("config", "layers", 1, "config", "kernel_regularizer"), {"class_name": "L2"}, "regularizers"),
        (
            ("config", "layers", 1, "config", "activation"),
            "swush",
            "activation: 'swush', expected one of linear",
        ),
        (("config", "layers", 1, "class_name"), "LSTM", r"layers\[1\]: 'LSTM', expected a layer of"),
        (("class_name",), "Functional", "'Functional', expected the architecture of a Keras Sequential"),
        (("config", "layers", 6, "config", "units"), 9, r"the last gives \(9,\), expected \(10,\)"),
    ],
)
def test_what_a_recipe_cannot_say_is_refused(
    place: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    table = tutorial_config()
    spot: Any = table
    for key in place[:-1]:
        spot = spot[key]
    spot[place[-1]] = value
    with pytest.raises(RecipeError, match=message):
        with_architecture(load_recipe("tutorial"), write(tmp_path / "t.json", table))


def test_text_that_is_not_json_is_named(tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_text("summary = 1")
    with pytest.raises(RecipeError, match=r"t\.json: not JSON"):
        read_architecture(path)
