"""`--config-json`: architectures written by Keras give Keras's network."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.backend import keras, tf
from trainer.errors import RecipeError
from trainer.network import served_network
from trainer.recipe import load_recipe, shipped_recipes, with_architecture

TUTORIAL = load_recipe("tutorial")


def layer(name: str, **config: Any) -> dict[str, Any]:
    return {"class_name": name, "config": {"name": name.lower(), "trainable": True, **config}}


def tutorial_config() -> dict[str, Any]:
    """The tutorial's architecture as its model-config tool writes it: Keras 2, input shape in a layer."""

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


def served(tmp_path: Path, table: Any) -> Any:
    path = tmp_path / "architecture.json"
    path.write_text(table if isinstance(table, str) else json.dumps(table))
    return served_network(with_architecture(TUTORIAL, path))


def answers_like(expected: Any, found: Any, shape: tuple[int, ...]) -> bool:
    """Tell whether two networks with the same weights give the same outputs."""
    found.set_weights(expected.get_weights())
    images = np.random.default_rng(1).integers(0, 256, (4, 784)).astype(np.float32) / 255
    mine = found(images, training=False).numpy()
    return bool(np.allclose(expected(images.reshape(-1, *shape), training=False).numpy(), mine, atol=1e-6))


def test_the_tutorials_own_file_is_the_tutorial_recipe(tmp_path: Path) -> None:
    read, recipe = served(tmp_path, tutorial_config()), served_network(TUTORIAL)
    assert [weight.shape for weight in read.weights] == [weight.shape for weight in recipe.weights]


@pytest.mark.parametrize("name", shipped_recipes())
def test_a_recipe_written_by_keras_reads_as_the_same_network(name: str, tmp_path: Path) -> None:
    network = served_network(load_recipe(name))
    again = served(tmp_path, network.to_json())
    assert [each.get_config() for each in again.layers] == [each.get_config() for each in network.layers]


def test_every_key_of_keras_3_shapes_the_network(tmp_path: Path) -> None:
    layers = keras.layers
    network = keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(
                8, 3, groups=1, use_bias=False, kernel_initializer=keras.initializers.HeNormal(seed=2)
            ),
            layers.BatchNormalization(scale=False, momentum=0.8, epsilon=0.01),
            layers.ReLU(max_value=2.0, negative_slope=0.3, threshold=0.1),
            layers.Conv2DTranspose(
                4, 3, dilation_rate=2, padding="same", kernel_regularizer=keras.regularizers.L2(0.1)
            ),
            layers.SeparableConv2D(6, 3, depth_multiplier=2, activation="silu"),
            layers.DepthwiseConv2D(3, strides=2, depthwise_constraint=keras.constraints.MaxNorm(2.0)),
            layers.PReLU(shared_axes=[1, 2]),
            layers.GroupNormalization(2),
            layers.GlobalAveragePooling2D(keepdims=True),
            layers.Flatten(),
            layers.Dense(10),
            layers.Softmax(),
        ]
    )
    try:
        network(np.zeros((1, 28, 28, 1), np.float32))
    except tf.errors.InvalidArgumentError:
        pytest.skip("OPTIONAL: TensorFlow has no dilated Conv2DTranspose for this CPU")
    found = served(tmp_path, network.to_json())
    assert [each.get_config() for each in found.layers[1:]] == [each.get_config() for each in network.layers]
    assert answers_like(network, found, (28, 28, 1))


@pytest.mark.parametrize(
    "input_layer",
    [
        {"class_name": "InputLayer", "config": {"batch_shape": [None, 28, 28, 1], "dtype": "float32"}},
        {"class_name": "InputLayer", "config": {"batch_input_shape": [None, 28, 28, 1], "sparse": False}},
        None,
    ],
)
def test_images_may_be_declared_as_squares_or_not_at_all(input_layer: Any, tmp_path: Path) -> None:
    table = tutorial_config()
    del table["config"]["layers"][0]
    if input_layer:
        table["config"]["layers"].insert(0, input_layer)
    assert answers_like(served_network(TUTORIAL), served(tmp_path, table), (784,))


def test_leftovers_of_keras_2_do_no_harm(tmp_path: Path) -> None:
    table = {
        "class_name": "Sequential",
        "config": [  # Keras before 2.3 wrote the layers themselves
            layer("Reshape", batch_input_shape=[None, 784], target_shape=[28, 28, 1]),
            layer("DepthwiseConv2D", kernel_size=[3, 3], groups=1, depth_multiplier=2),
            layer(
                "SeparableConv2D",
                filters=4,
                kernel_size=[3, 3],
                groups=1,
                kernel_initializer={"class_name": "Zeros"},
            ),
            layer("BatchNormalization", axis=[3], momentum=0.9, center=True, scale=False),
            layer("LeakyReLU", alpha=0.25),
            layer("Flatten"),
            layer("Dense", units=10, activation="softmax"),
        ],
    }
    layers = keras.layers
    expected = keras.Sequential(
        [
            keras.Input((784,)),
            layers.Reshape((28, 28, 1)),
            layers.DepthwiseConv2D(3, depth_multiplier=2),
            layers.SeparableConv2D(4, 3),
            layers.BatchNormalization(axis=3, momentum=0.9, scale=False),
            layers.LeakyReLU(0.25),
            layers.Flatten(),
            layers.Dense(10, activation="softmax"),
        ]
    )
    found = served(tmp_path, table)
    assert answers_like(expected, found, (784,))
    assert found.layers[4].negative_slope == 0.25


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        (
            ("config", "layers", 1, "config", "filterz"),
            3,
            r"layers\[1\]\.filterz: unknown argument of Conv2D; available:",
        ),
        (
            ("config", "layers", 1, "config", "activation"),
            "rellu",
            r"layers\[1\]\.activation: .*did you mean relu",
        ),
        (("config", "layers", 1, "class_name"), "Conv3E", r"layers\[1\]\.class: .*did you mean Conv3D"),
        (
            ("config", "layers", 2, "config", "groups"),
            2,
            r"layers\[2\]\.groups: unknown argument of MaxPooling2D",
        ),
        (
            ("config", "layers", 0, "config", "batch_input_shape"),
            [None, 32, 32, 3],
            r"input shape \[32, 32, 3\]",
        ),
        (("class_name",), "Functional", "'Functional', expected the architecture of a Keras Sequential"),
        (
            ("config", "layers", 6, "config", "units"),
            9,
            r"answers \[9\] for an image, expected 10 probabilities",
        ),
        (("config", "layers", 6, "config", "activation"), "linear", "expected probabilities"),
    ],
)
def test_an_error_names_file_layer_and_key(
    place: tuple[Any, ...], value: Any, message: str, tmp_path: Path
) -> None:
    table = tutorial_config()
    spot: Any = table
    for key in place[:-1]:
        spot = spot[key]
    spot[place[-1]] = value
    with pytest.raises(RecipeError, match=rf"architecture\.json: .*{message}"):
        served(tmp_path, table)


def test_text_that_is_not_json_is_named(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r"architecture\.json: not JSON"):
        served(tmp_path, "summary = 1")
