from pathlib import Path

import pytest

from trainer.errors import RecipeError
from trainer.layers import Conv2D
from trainer.recipe import load_recipe, parse_recipe, shipped_recipes
from trainer.schema import read, to_toml

MINIMAL = """
summary = "one layer"
[[layers]]
kind = "dense"
units = 10
activation = "softmax"
[fit]
epochs = 1
batch_size = 10
"""


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_reads(name: str) -> None:
    assert load_recipe(name).name == name


def test_one_number_stands_for_height_and_width() -> None:
    assert read(Conv2D, {"filters": 2, "kernel_size": 5}, "r") == Conv2D(filters=2, kernel_size=(5, 5))


def test_resolved_recipe_reads_as_the_same_recipe() -> None:
    for name in shipped_recipes():
        recipe = load_recipe(name)
        assert parse_recipe(to_toml(recipe), name, "r.toml") == recipe


def test_layers_that_do_not_fit_together_are_named() -> None:
    with pytest.raises(RecipeError, match=r"r\.toml\.layers\[1\] \(conv2d\): gets \(10,\), expected height"):
        parse_recipe(MINIMAL + '[[layers]]\nkind = "conv2d"\nfilters = 2\n', "r", "r.toml")


def test_last_layer_must_give_one_number_a_digit() -> None:
    with pytest.raises(RecipeError, match=r"the last gives \(9,\), expected \(10,\)"):
        parse_recipe(MINIMAL.replace("units = 10", "units = 9"), "r", "r.toml")


def test_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text(MINIMAL)
    assert load_recipe(str(path)).name == "mine"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("units", "unit"), "r.toml.layers[0].unit: unknown key, allowed here: units, activation"),
        (("units = 10", ""), "r.toml.layers[0].units: missing, expected a whole number, at least 1"),
        (("units = 10", "units = 0"), "r.toml.layers[0].units: 0, expected a whole number, at least 1"),
        (("units = 10", "units = 1.5"), "r.toml.layers[0].units: 1.5, expected a whole number"),
        (("units = 10", "units = true"), "r.toml.layers[0].units: True, expected a whole number"),
        (('"softmax"', '"sofmax"'), "r.toml.layers[0].activation: 'sofmax', expected one of linear, "),
        (('"dense"', '"dens"'), "r.toml.layers[0].kind: 'dens', expected one of "),
        (("epochs = 1", "epochs = 1\nepoch = 1"), "r.toml.fit.epoch: unknown key, allowed here: epochs, "),
        (("[fit]", "[fitt]"), "r.toml.fitt: unknown key, allowed here: summary, "),
        (("[[layers]]", "[layers]"), "r.toml.layers: {"),
        (("[fit]", "[fit"), "r.toml: not TOML: "),
    ],
)
def test_mistake_is_named_with_what_was_expected(change: tuple[str, str], message: str) -> None:
    with pytest.raises(RecipeError) as refused:
        parse_recipe(MINIMAL.replace(*change), "r", "r.toml")
    assert str(refused.value).startswith(message)


def test_unknown_recipe_is_told_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"nonesuch: no such recipe or file, .*digits"):
        load_recipe("nonesuch")


def test_small_data_takes_its_own_number_of_epochs() -> None:
    fit = load_recipe("digits").fit
    assert fit.small_data is not None
    assert fit.epochs_for(4_000) == fit.small_data.epochs
    assert fit.epochs_for(54_000) == fit.epochs
