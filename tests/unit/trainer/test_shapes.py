from typing import Any

import pytest

from trainer.errors import RecipeError
from trainer.explain import explanation
from trainer.layers import (
    ELU,
    ActivationLayer,
    AveragePooling2D,
    BatchNormalization,
    Conv2D,
    Conv2DTranspose,
    Cropping2D,
    Dense,
    DepthwiseConv2D,
    Dropout,
    Flatten,
    GaussianNoise,
    GlobalAveragePooling2D,
    GlobalMaxPooling2D,
    Layer,
    LeakyReLU,
    MaxPooling2D,
    Permute,
    PReLU,
    ReLU,
    Rescaling,
    Reshape,
    SeparableConv2D,
    Softmax,
    UpSampling2D,
    ZeroPadding2D,
)
from trainer.network import parameter_count, served_network
from trainer.recipe import Fit, Recipe, load_recipe, shipped_recipes
from trainer.shapes import output_size, stages

START: tuple[Layer, ...] = (Rescaling(1 / 255), Reshape((28, 28, 1)))
END: tuple[Layer, ...] = (Flatten(), Dense(10, activation="softmax"))

NETWORKS: dict[str, tuple[Layer, ...]] = {
    "strides and dilation": (
        Conv2D(4, (5, 3), strides=(2, 1)),
        Conv2D(3, (3, 3), dilation_rate=(2, 3)),
        Conv2D(5, (2, 2), strides=(2, 2), padding="same"),
    ),
    "separable": (
        SeparableConv2D(6, (3, 3), strides=(2, 2), depth_multiplier=2, padding="same"),
        DepthwiseConv2D((3, 3), depth_multiplier=3, dilation_rate=(2, 2)),
    ),
    "transposed": (
        Conv2DTranspose(3, (3, 3), strides=(2, 2)),
        Conv2DTranspose(2, (2, 2), strides=(3, 1), padding="same"),
        Conv2DTranspose(2, (1, 1), strides=(2, 2)),
    ),
    "pooling": (
        MaxPooling2D((3, 3), strides=(2, 2)),
        AveragePooling2D((2, 2), padding="same"),
        MaxPooling2D((2, 3), strides=(1, 1), padding="same"),
    ),
    "edges": (
        ZeroPadding2D(((1, 2), (3, 4))),
        Cropping2D(((2, 1), (0, 5))),
        UpSampling2D((2, 3)),
        Permute((2, 1, 3)),
    ),
    "activations": (
        Conv2D(4, (3, 3)),
        BatchNormalization(),
        PReLU(shared_axes=(1, 2)),
        LeakyReLU(),
        ELU(),
        ReLU(6.0),
        ActivationLayer("tanh"),
        Dropout(0.1),
        GaussianNoise(0.1),
        PReLU(),
        BatchNormalization(center=False),
    ),
    "global maximum": (Conv2D(10, (3, 3)), GlobalMaxPooling2D(), Softmax()),
    "global mean": (Conv2D(10, (3, 3), normalize=True), GlobalAveragePooling2D(), Dense(7)),
}


def recipe_of(layers: tuple[Layer, ...]) -> Recipe:
    return Recipe("", (*START, *layers, *END), Fit(epochs=1, batch_size=1), name="r")


def keras_shapes(network: Any) -> list[tuple[int, ...]]:
    return [tuple(layer.output.shape[1:]) for layer in network.layers]


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_and_parameters_are_those_of_keras(name: str) -> None:
    recipe = recipe_of(NETWORKS[name])
    network = served_network(recipe)
    mine = stages(recipe.layers)
    assert [stage.output_shape for stage in mine] == keras_shapes(network)
    assert [stage.parameters for stage in mine] == [parameter_count(layer) for layer in network.layers]


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipes_are_explained_as_keras_builds_them(name: str) -> None:
    recipe = load_recipe(name)
    network = served_network(recipe)
    assert [stage.output_shape for stage in stages(recipe.layers)] == keras_shapes(network)
    assert sum(stage.parameters for stage in stages(recipe.layers)) == parameter_count(network)


def test_output_size_is_the_tutorials_formula() -> None:
    assert output_size(28, 3, padding="valid", stride=1) == 26
    assert output_size(28, 3, padding="same", stride=1) == 28
    assert output_size(7, 3, padding="valid", stride=2) == 3
    assert output_size(7, 3, padding="valid", stride=1, dilation=2) == 3


def test_digits_sees_ten_pixels_and_costs_3_1_million() -> None:
    done = stages(load_recipe("digits").layers)
    assert [stage.receptive_field for stage in done[2:6]] == [(3, 3), (4, 4), (8, 8), (10, 10)]
    assert sum(stage.multiply_adds for stage in done) == 28 * 28 * 64 * 9 + 12 * 12 * 32 * 9 * 64 + 1152 * 10


def test_fast_costs_at_most_a_third_of_digits() -> None:
    fast, digits = (
        sum(stage.multiply_adds for stage in stages(load_recipe(name).layers)) for name in ("fast", "digits")
    )
    assert fast * 3 <= digits


def test_window_larger_than_the_image_is_named() -> None:
    with pytest.raises(RecipeError, match=r"layers\[3\] \(conv2d\): does not fit into \(2, 2, 1\)"):
        stages((*START, MaxPooling2D((14, 14)), Conv2D(2, (3, 3))))


def test_explanation_has_a_line_a_layer_and_the_sums() -> None:
    text = explanation(load_recipe("digits"))
    assert "conv2d 64 of 3x3 same relu" in text
    assert "28x28x64" in text
    assert "30,634" in text
    assert "3,117,312" in text
