"""A recipe: everything that decides what is trained, read from TOML."""

import tomllib
from dataclasses import dataclass, field, replace
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from trainer.errors import RecipeError
from trainer.keras_json import read_architecture
from trainer.layers import Layer
from trainer.optimizers import Adam, Optimizer
from trainer.schema import Count, NotNegative, Range, Share, read
from trainer.shapes import check_shapes


@dataclass(frozen=True)
class SmallData:
    """What changes when there are fewer training images than `below_images`."""

    below_images: Count
    epochs: Count


Loss = Literal[
    "categorical_crossentropy",
    "binary_crossentropy",
    "mean_squared_error",
    "mean_absolute_error",
    "mean_absolute_percentage_error",
    "mean_squared_logarithmic_error",
    "kl_divergence",
    "poisson",
    "hinge",
    "squared_hinge",
    "categorical_hinge",
    "log_cosh",
    "cosine_similarity",
]
Monitor = Literal["validation_loss", "validation_accuracy", "loss", "accuracy"]


@dataclass(frozen=True)
class EarlyStopping:
    """Stop when `monitor` has not improved by `min_delta` for `patience` epochs.

    `restore_best_weights` exports the weights of the last epoch that improved it, stopped early or not.
    """

    monitor: Monitor = "validation_loss"
    patience: Count = 5
    min_delta: NotNegative = 0.0
    restore_best_weights: bool = False


@dataclass(frozen=True)
class ReduceOnPlateau:
    """Multiply the learning rate by `factor` whenever `monitor` has stood still for `patience` epochs."""

    monitor: Monitor = "validation_loss"
    factor: Annotated[float, Range(0.001, 0.999)] = 0.1
    patience: Count = 10
    min_delta: NotNegative = 1e-4
    lowest: NotNegative = 0.0


@dataclass(frozen=True)
class Fit:
    """How the network is fitted."""

    epochs: Count
    batch_size: Count
    learning_rate: NotNegative = 1e-3
    schedule: Literal["constant", "linear", "cosine"] = "constant"
    warmup_epochs: NotNegative = 0.0
    validation_fraction: Annotated[float, Range(0.001, 0.9)] = 0.1
    loss: Loss = "categorical_crossentropy"
    label_smoothing: Annotated[float, Range(0, 0.5)] = 0.0
    # Share of the old average kept at each step; 0 evaluates and exports the last weights.
    weight_average: Annotated[float, Range(0, 0.99999)] = 0.0
    # auto is bfloat16 where the CPU multiplies it natively, else float32.
    precision: Literal["auto", "float32", "bfloat16"] = "float32"
    optimizer: Optimizer = field(default_factory=Adam)
    early_stopping: EarlyStopping | None = None
    reduce_on_plateau: ReduceOnPlateau | None = None
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
    # Images shown as they are. Resampling blurs; a network that never saw crisp strokes in training is
    # measurably worse on them.
    plain_chance: Share = 0.0
    stroke_chance: Share = 0.0
    noise_chance: Share = 0.0
    impulse_chance: Share = 0.0
    invert_chance: Share = 0.0


@dataclass(frozen=True)
class Recipe:
    """A network, how to fit it and how to vary the images it is fitted to."""

    summary: str
    layers: tuple[Layer, ...]
    fit: Fit
    augment: Augment = field(default_factory=Augment)
    seed: Annotated[int, Range(0, 2**31 - 1)] = 1
    name: str = ""


def shipped_recipes() -> list[str]:
    """Return the names of the recipes that ship with the package."""
    entries = (files("trainer") / "recipes").iterdir()
    return sorted(Path(entry.name).stem for entry in entries if entry.name.endswith(".toml"))


def load_recipe(name_or_path: str) -> Recipe:
    """Return a shipped recipe by its name, or the one in a TOML file. Raises RecipeError."""
    if name_or_path in shipped_recipes():
        text = (files("trainer") / "recipes" / f"{name_or_path}.toml").read_text(encoding="utf-8")
        return parse_recipe(text, name_or_path, name_or_path)
    path = Path(name_or_path)
    if not path.is_file():
        raise RecipeError(
            f"recipe {name_or_path}: no such recipe or file, expected a TOML file or one of "
            + ", ".join(shipped_recipes())
        )
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"{path}: cannot be read as text: {error}") from error
    return parse_recipe(text, path.stem, str(path))


def parse_recipe(text: str, name: str, where: str) -> Recipe:
    """Return the recipe written in TOML as `text`; `where` begins every error message."""
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}: not TOML: {error}") from error
    recipe = read(Recipe, {"name": name, **table}, where)
    check_shapes(recipe.layers, where)
    return recipe


def with_architecture(recipe: Recipe, path: Path) -> Recipe:
    """Return the recipe with the layers of a Keras architecture file in place of its own."""
    layers = read_architecture(path)
    check_shapes(layers, str(path))
    return replace(recipe, layers=layers, name=path.stem, summary=f"{path.name}, fitted as {recipe.name}")
