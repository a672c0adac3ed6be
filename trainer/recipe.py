"""Recipes: network, fit and augmentation in TOML, with Keras's names."""

import json
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from trainer.errors import RecipeError

Count = Annotated[int, Meta(ge=1)]
Share = Annotated[float, Meta(ge=0, le=1)]
Config = dict[str, Any]
"""A Keras object: `class` names it, the other keys are its arguments."""


class SmallData(Struct, frozen=True, forbid_unknown_fields=True):
    """Changes for less than `below_images` training images."""

    below_images: Count
    epochs: Count


class Teacher(Struct, frozen=True, forbid_unknown_fields=True):
    """Distillation from a published model (Hinton et al., 2015).

    `model` is the folder of a version, or NAME/VERSION of a shipped one. The loss is (1 - `share`) times the
    recipe's loss plus `share` times T^2 times the cross-entropy of both probabilities at `temperature` T.
    """

    model: str
    temperature: Annotated[float, Meta(ge=1, le=20)] = 2.0
    share: Annotated[float, Meta(gt=0, le=1)] = 1.0


class Outliers(Struct, frozen=True, forbid_unknown_fields=True):
    """Outlier exposure (`trainer.data.outliers`): images per batch, and the weight of their loss."""

    per_batch: Count
    weight: Annotated[float, Meta(gt=0)] = 0.1


class Fit(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the fit; the tables of optimizer, loss and callbacks are Keras's."""

    epochs: Count
    batch_size: Count
    optimizer: str | Config = "Adam"
    loss: str | Config = "categorical_crossentropy"
    validation_fraction: Annotated[float, Meta(gt=0, le=0.9)] = 0.1
    # auto is bfloat16 if the CPU has instructions for it, otherwise float32.
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    early_stopping: Config | None = None
    reduce_lr_on_plateau: Config | None = None
    small_data: SmallData | None = None
    teacher: Teacher | None = None
    outliers: Outliers | None = None

    def epochs_for(self, train_images: int) -> int:
        """Return the number of epochs for a data set of this size."""
        if self.small_data and train_images < self.small_data.below_images:
            return self.small_data.epochs
        return self.epochs


class Augment(Struct, frozen=True, forbid_unknown_fields=True):
    """Settings of the augmentation; all zero is off.

    Geometry is drawn for every image, from uniform distributions with these half-widths; for a share
    `wide_chance` of the images, all but `elastic_pixels` are 2.2 times as wide. `*_chance` is the share of
    images that are changed. In the last `late_share` of the epochs, `late_strength` multiplies all of these
    half-widths and shares but `plain_chance`.
    """

    shift_pixels: Annotated[float, Meta(ge=0, le=14)] = 0.0
    rotate_degrees: Annotated[float, Meta(ge=0, le=180)] = 0.0
    scale: Annotated[float, Meta(ge=0, le=0.9)] = 0.0
    shear: Share = 0.0
    elastic_pixels: Annotated[float, Meta(ge=0, le=10)] = 0.0
    contrast_chance: Share = 0.0
    # Unchanged images: resampling blurs, and a network needs crisp strokes too.
    plain_chance: Share = 0.0
    stroke_chance: Share = 0.0
    noise_chance: Share = 0.0
    impulse_chance: Share = 0.0
    invert_chance: Share = 0.0
    wide_chance: Share = 0.0
    blur_chance: Share = 0.0
    line_chance: Share = 0.0
    texture_chance: Share = 0.0
    late_share: Share = 0.0
    late_strength: Annotated[float, Meta(gt=0, le=1)] = 1.0

    def __post_init__(self) -> None:
        """Refuse settings without an effect; msgspec converts the ValueError."""
        if self.wide_chance and not (self.shift_pixels or self.rotate_degrees or self.scale or self.shear):
            raise ValueError("wide_chance has no effect without shift_pixels, rotate_degrees, scale or shear")
        changing = any(getattr(self, name) for name in self._scaled)
        if self.plain_chance and not changing:
            raise ValueError("plain_chance has no effect without another setting")
        if bool(self.late_share and changing) != (self.late_strength < 1):
            raise ValueError("late_share and late_strength have no effect without each other")

    @property
    def _scaled(self) -> list[str]:
        return [name for name in self.__struct_fields__ if not name.startswith(("plain_", "late_"))]

    def in_epoch(self, epoch: int, epochs: int) -> "Augment":
        """Return the settings of an epoch, 1 to `epochs`."""
        if epoch <= epochs - round(self.late_share * epochs):
            return self
        milder = {name: self.late_strength * getattr(self, name) for name in self._scaled}
        return Augment(**milder, plain_chance=self.plain_chance)


class Recipe(Struct, frozen=True, forbid_unknown_fields=True):
    """A recipe: network, fit and augmentation.

    `parameters`, if given, is the required number of trainable parameters of the served network. `source` is
    the prefix of error messages.
    """

    summary: str
    layers: Annotated[list[Config], Meta(min_length=1)]
    fit: Fit
    augment: Augment = Augment()
    seed: Annotated[int, Meta(ge=0, lt=2**31)] = 1
    parameters: Count | None = None
    name: str = ""
    source: str = ""


def shipped_recipes() -> list[str]:
    """Return the names of the shipped recipes."""
    entries = (files("trainer") / "recipes").iterdir()
    return sorted(Path(entry.name).stem for entry in entries if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Return a shipped recipe by name, or the recipe in a TOML file or a run's recipe.json.

    Raises RecipeError. Keras checks layers, optimizer and loss when the network is built.
    """
    path = Path(name_or_path)
    if name_or_path in shipped_recipes():
        text = (files("trainer") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
    elif path.is_file():
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError(f"{path}: cannot be read as text: {error}") from error
    else:
        raise RecipeError(
            f"recipe {name_or_path}: no such recipe or file, expected a TOML file or one of "
            + ", ".join(shipped_recipes())
        )
    try:
        table = json.loads(text) if path.suffix == ".json" else tomllib.loads(text)
    except ValueError as error:
        raise RecipeError(f"{name_or_path}: {error}") from error
    return parse_recipe({"name": path.stem} | table | {"source": name_or_path})


def parse_recipe(table: Config) -> Recipe:
    """Return the recipe of a table. Raises RecipeError with file, table and key."""
    source = table.get("source") or "recipe"
    _refuse_old_form(table, source)
    try:
        recipe = msgspec.convert(table, Recipe)
    except msgspec.ValidationError as error:
        raise RecipeError(_explain(error, source)) from error
    for index, layer in enumerate(recipe.layers):
        if not isinstance(layer.get("class"), str):
            raise RecipeError(
                f'{source}: layers[{index}].class: missing, expected a Keras layer, class = "Dense"'
            )
    return recipe


def _refuse_old_form(table: Config, source: str) -> None:
    """Raise RecipeError with the new form for a recipe that has `kind` in its layers."""
    layers = table.get("layers")
    for index, layer in enumerate(layers if isinstance(layers, list) else []):
        if isinstance(layer, dict) and "kind" in layer:
            words = str(layer["kind"]).replace("2d", "2D").split("_")
            raise RecipeError(
                f'{source}: layers[{index}].kind = "{layer["kind"]}": recipes use Keras\'s names, '
                f'class = "{"".join(word[:1].upper() + word[1:] for word in words)}"; '
                'the learning rate is in [fit.optimizer]: class = "Adam", learning_rate = 1e-3'
            )


def _explain(error: msgspec.ValidationError, source: str) -> str:
    """Return msgspec's message with file, table and key, and the table's known keys."""
    message, _, path = str(error).partition(" - at `$")
    table = path.rstrip("`").lstrip(".")
    if "unknown field" not in message:
        return f"{source}: {table or 'recipe'}: {message}"
    key = message.split("`")[1]
    tables = {"fit": Fit, "augment": Augment}
    tables |= {"fit.small_data": SmallData, "fit.teacher": Teacher, "fit.outliers": Outliers}
    known = ", ".join(tables.get(table, Recipe).__struct_fields__)
    return f"{source}: {f'{table}.' if table else ''}{key}: unknown key; available: {known}"


def with_architecture(recipe: Recipe, path: Path) -> Recipe:
    """Return the recipe with its layers replaced by those of an architecture file of Keras 2 or 3.

    Raises RecipeError if the file does not describe a Sequential network.
    """
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path}: not JSON: {error}") from error
    if not isinstance(table, dict) or table.get("class_name") != "Sequential":
        found = table.get("class_name") if isinstance(table, dict) else type(table).__name__
        raise RecipeError(f"{path}: {found!r}, expected the architecture of a Keras Sequential network")
    config = table.get("config")
    # Before Keras 2.3, the configuration was the list of layers.
    entries = config.get("layers") if isinstance(config, dict) else config
    if not isinstance(entries, list) or not entries:
        raise RecipeError(f"{path}: config.layers: {entries!r}, expected a list of layers")
    layers = [_plain(entry) for entry in entries]
    for index, layer in enumerate(layers):
        if not isinstance(layer, dict) or "class" not in layer:
            raise RecipeError(f"{path}: config.layers[{index}]: expected an object of class_name and config")
    built = config.get("build_input_shape") if isinstance(config, dict) else None
    if built and layers[0]["class"] != "InputLayer":
        layers.insert(0, {"class": "InputLayer", "batch_shape": built})
    summary = f"{path.name}, fitted as {recipe.name}"
    changed = {"layers": layers, "parameters": None, "name": path.stem, "source": str(path)}
    return msgspec.structs.replace(recipe, **changed, summary=summary)


def _plain(value: Any) -> Any:
    """Convert Keras's {class_name, config} to a recipe's table."""
    if isinstance(value, list):
        return [_plain(item) for item in value]
    if not isinstance(value, dict):
        return value
    if isinstance(value.get("class_name"), str) and "items" not in value:
        config = value.get("config") or {}
        # Functions are written like objects, with their name as configuration.
        return config if isinstance(config, str) else {"class": value["class_name"], **_plain(config)}
    return {key: _plain(item) for key, item in value.items()}
