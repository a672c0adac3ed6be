"""A recipe: everything that decides what is trained, read from TOML."""

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from trainer.errors import RecipeError
from trainer.layers import KINDS, Layer
from trainer.schema import Count, NotNegative, Range, Share, read


@dataclass(frozen=True)
class SmallData:
    """What changes when there are fewer training images than `below_images`."""

    below_images: Count
    epochs: Count


@dataclass(frozen=True)
class Fit:
    """How the network is fitted."""

    epochs: Count
    batch_size: Count
    learning_rate: NotNegative = 1e-3
    schedule: Literal["constant", "cosine"] = "constant"
    warmup_epochs: NotNegative = 0.0
    validation_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    label_smoothing: Annotated[float, Range(0, 0.5)] = 0.0
    # Share of the old average kept at each step; 0 evaluates and exports the last weights.
    weight_average: Annotated[float, Range(0, 0.99999)] = 0.0
    # auto is bfloat16 where the CPU multiplies it natively, else float32.
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    small_data: SmallData | None = None

    def epochs_for(self, train_images: int) -> int:
        """Return the number of epochs for a data set of this size."""
        if self.small_data and train_images < self.small_data.below_images:
            return self.small_data.epochs
        return self.epochs


@dataclass(frozen=True)
class Augment:
    """How each training image is varied each time it is shown; all zero is off.

    Geometry is drawn for every image: shift in pixels, the others as the half-width of a uniform
    distribution. `*_chance` is the share of images that the variation is applied to.
    """

    shift_pixels: Annotated[float, Range(0, 14)] = 0.0
    rotate_degrees: Annotated[float, Range(0, 180)] = 0.0
    scale: Annotated[float, Range(0, 0.9)] = 0.0
    shear: Annotated[float, Range(0, 1)] = 0.0
    elastic_pixels: Annotated[float, Range(0, 10)] = 0.0
    contrast_chance: Share = 0.0
    stroke_chance: Share = 0.0
    noise_chance: Share = 0.0
    impulse_chance: Share = 0.0
    invert_chance: Share = 0.0


@dataclass(frozen=True)
class Recipe:
    """A network, how to fit it and how to vary the images it is fitted to."""

    name: str
    summary: str
    layers: tuple[Layer, ...]
    fit: Fit
    augment: Augment = field(default_factory=Augment)
    seed: int = 1


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    return sorted(Path(entry.name).stem for entry in (files("trainer") / "recipes").iterdir())


def load_recipe(name_or_path: str) -> Recipe:
    """Return a shipped recipe by its name, or the one in a TOML file. Raises RecipeError."""
    if name_or_path in shipped_recipes():
        text = (files("trainer") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
        return parse_recipe(text, name_or_path, f"{name_or_path}")
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(
            f"recipe {name_or_path}: no such recipe or file, expected a TOML file or one of "
            + ", ".join(shipped_recipes())
        )
    try:
        return parse_recipe(path.read_text(encoding="utf-8"), path.stem, str(path))
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as text: {error}") from error


def parse_recipe(text: str, name: str, where: str) -> Recipe:
    """Return the recipe written in TOML as `text`; `where` begins every error message."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not TOML: {error}") from error
    written = read(_Written, {key: value for key, value in table.items() if key != "layers"}, where)
    entries = table.get("layers")
    if not isinstance(entries, list) or not entries:
        raise RecipeError(f"{where}.layers: {entries!r}, expected a list of tables")
    layers = tuple(_layer(entry, f"{where}.layers[{i}]") for i, entry in enumerate(entries))
    return Recipe(name, layers=layers, **vars(written))


@dataclass(frozen=True)
class _Written:
    """A recipe file's top level, but for the layers, which are of many kinds."""

    summary: str
    fit: Fit
    augment: Augment = field(default_factory=Augment)
    seed: int = 1


def _layer(entry: Mapping[str, Any], where: str) -> Layer:
    if not isinstance(entry, Mapping):
        raise RecipeError(f"{where}: {entry!r}, expected a table")
    kind = entry.get("kind")
    if kind not in KINDS:
        raise RecipeError(f"{where}.kind: {kind!r}, expected one of {', '.join(KINDS)}")
    return read(KINDS[kind], {key: value for key, value in entry.items() if key != "kind"}, where)
