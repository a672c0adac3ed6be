from pathlib import Path

import msgspec
import pytest

from trainer.errors import RecipeError
from trainer.network import served_network
from trainer.recipe import Recipe, load_recipe, shipped_recipes

MINIMAL = """
summary = "one layer"
[[layers]]
class = "Dense"
units = 10
activation = "softmax"
[fit]
epochs = 1
batch_size = 10
"""


def recipe(folder: Path, text: str = MINIMAL) -> Recipe:
    path = folder / "mine.toml"
    path.write_text(text)
    return load_recipe(str(path))


@pytest.mark.parametrize("name", shipped_recipes())
def test_shipped_recipe_has_the_parameters_that_it_states(name: str) -> None:
    assert load_recipe(name).name == name
    assert load_recipe(name).parameters is not None
    served_network(load_recipe(name))


def test_recipe_is_named_after_its_file(tmp_path: Path) -> None:
    assert recipe(tmp_path).name == "mine"


def test_resolved_recipe_reads_as_the_same_recipe(tmp_path: Path) -> None:
    path = tmp_path / "digits.json"
    for name in shipped_recipes():
        path.write_bytes(msgspec.json.encode(load_recipe(name)))
        assert msgspec.structs.replace(load_recipe(str(path)), source=name) == load_recipe(name)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("epochs = 1", "epochs = 1\nepoch = 1"), "fit.epoch: unknown key; available: epochs, batch_size, "),
        (("[fit]", "[fitt]"), "fitt: unknown key; available: summary, layers"),
        (("epochs = 1", "epochs = 0"), "fit.epochs: Expected `int` >= 1"),
        (("epochs = 1", "epochs = true"), "fit.epochs: Expected `int`"),
        (("epochs = 1\n", ""), "fit: Object missing required field `epochs`"),
        (("[fit]", "[augment]\nshift = 1\n[fit]"), "augment.shift: unknown key; available: shift_pixels, "),
        (
            ("[fit]", "[augment]\nwide_chance = 0.1\n[fit]"),
            "augment: wide_chance has no effect without shift_",
        ),
        (("[fit]", "[augment]\nplain_chance = 0.1\n[fit]"), "augment: plain_chance has no effect without"),
        (("[fit]", "[augment]\nscale = 0.1\nlate_share = 0.3\n[fit]"), "augment: late_share and late_str"),
        (
            ("[fit]", '[fit.teacher]\nmodel = "accurate/2"\nshare = 0\n[fit]'),
            "fit.teacher.share: Expected `float` > 0",
        ),
        (
            ("[fit]", "[fit.outliers]\nbatch = 8\n[fit]"),
            "fit.outliers.batch: unknown key; available: per_batch, weight",
        ),
        (("[[layers]]", "[layers]"), "layers: Expected `array`"),
        (("[fit]", "[fit"), "Expected ']'"),
        (('class = "Dense"', ""), "layers[0].class: missing, expected a Keras layer"),
    ],
)
def test_mistake_outside_of_keras_names_file_table_and_key(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as refused:
        recipe(tmp_path, MINIMAL.replace(*change))
    assert str(refused.value).startswith(f"{tmp_path}/mine.toml: {message}")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("units = 10", "unit = 10"), "layers[0].unit: unknown argument of Dense; available: activation, "),
        (
            ("units = 10", "units = -1"),
            "layers[0].units: Received an invalid value for `units`, expected a positive",
        ),
        (("units = 10", ""), "layers[0] (Dense): "),
        (("units = 10", "units = 9"), "layers[0]: answers [9] for an image, expected 10 probabilities"),
        (
            ('"softmax"', '"sofmax"'),
            "layers[0].activation: Could not interpret activation function identifier: sofmax",
        ),
        (('"Dense"', '"Dens"'), "layers[0].class: keras.layers has no 'Dens'; did you mean Dense?"),
        (
            ('"softmax"', '"softmax"\nnormalize = true'),
            "layers[0].normalize: True for Dense, expected true for a Conv2D",
        ),
        (
            ("[fit]", '[[layers]]\nclass = "Conv2D"\nfilters = 2\nkernel_size = 3\n[fit]'),
            "layers[1] (Conv2D): ",
        ),
        (("[[layers]]", "parameters = 5\n[[layers]]"), "parameters: 5, the network has 7,850"),
    ],
)
def test_mistake_in_keras_words_says_what_keras_says(
    change: tuple[str, str], message: str, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError) as refused:
        served_network(recipe(tmp_path, MINIMAL.replace(*change)))
    assert str(refused.value).startswith(f"{tmp_path}/mine.toml: {message}")


def test_old_form_is_refused_with_the_new_one(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match=r'layers\[0\]\.kind = "max_pooling2d": .* class = "MaxPooling2D"'):
        recipe(tmp_path, MINIMAL.replace('class = "Dense"', 'kind = "max_pooling2d"'))


def test_nested_keras_objects_reach_the_layer(tmp_path: Path) -> None:
    text = MINIMAL.replace(
        "units = 10", 'units = 10\nkernel_initializer = { class = "Constant", value = 0.5 }'
    )
    layer = served_network(recipe(tmp_path, text)).layers[0]
    assert (layer.get_weights()[0] == 0.5).all()


def test_unknown_recipe_lists_the_known_ones() -> None:
    with pytest.raises(RecipeError, match=r"nonesuch: no such recipe or file, .*digits"):
        load_recipe("nonesuch")


def test_small_data_takes_its_own_number_of_epochs() -> None:
    fit = load_recipe("digits").fit
    assert fit.small_data is not None
    assert fit.epochs_for(4_000) == fit.small_data.epochs
    assert fit.epochs_for(54_000) == fit.epochs
