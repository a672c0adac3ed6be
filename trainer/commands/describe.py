"""`digit-trainer recipes`, `explain` and `data`."""

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from trainer.errors import TrainerError
from trainer.recipe import load_recipe, shipped_recipes, with_architecture
from trainer.run import write_durably

if TYPE_CHECKING:
    from trainer.data.dataset import Dataset

_TABLE_COLUMNS = 100
_SHEET_COLUMNS = 24
_GAP_PIXELS = 4
_SHEET_SCALE = 2


def recipes() -> int:
    """List the recipes that ship with the package."""
    for name in shipped_recipes():
        recipe = load_recipe(name)
        print(f"{name:10s}  {recipe.parameters or 0:>9,} parameters  {recipe.summary}")
    return 0


def explain(
    recipe: str = "digits", /, *, config_json: Path | None = None, to_json: Path | None = None
) -> int:
    """Print the layers of a recipe: Keras's summary, output sizes worked out, receptive field, multiply-adds.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or a TOML file.
    config_json
        Keras architecture JSON whose layers replace the recipe's.
    to_json
        Also write the layers as Keras architecture JSON into this file.

    """
    chosen = load_recipe(recipe)
    if config_json:
        chosen = with_architecture(chosen, config_json)
    # TensorFlow takes seconds to import; wrong names are reported before.
    from trainer.network import served_network  # noqa: PLC0415

    network = served_network(chosen)
    print(f"{chosen.name}: {chosen.summary}")
    network.summary()
    print_layers(network)
    fit = chosen.fit
    print(
        f"fit: {fit.epochs} epochs of batches of {fit.batch_size}, "
        f"{fit.validation_fraction:.0%} for validation"
    )
    if to_json:
        write_durably(to_json, (network.to_json(indent=2) + "\n").encode())
        print(f"architecture  {to_json}")
    return 0


def print_layers(network: Any) -> None:
    """Print a table of what Keras's summary does not show."""
    from rich.console import Console  # noqa: PLC0415
    from rich.table import Table  # noqa: PLC0415

    table = Table("layer", "output", "receptive field", "multiply-adds", "output size")
    for column in table.columns:
        column.no_wrap = True
        column.justify = "right" if column.header in {"receptive field", "multiply-adds"} else "left"
    field, spacing, total = (1, 1), (1, 1), 0
    for layer in network.layers:
        before, after = layer.input.shape[1:], layer.output.shape[1:]
        kernel, stride, dilation = windows(layer)
        grown = [
            size + (k - 1) * d * gap for size, k, d, gap in zip(field, kernel, dilation, spacing, strict=True)
        ]
        field, spacing = (grown[0], grown[1]), (spacing[0] * stride[0], spacing[1] * stride[1])
        count = multiply_adds(layer, before, after)
        total += count
        seen = f"{field[0]}x{field[1]}" if len(after) > 1 and min(field) > 1 else ""
        table.add_row(
            layer.name, "x".join(map(str, after)), seen, f"{count:,}" if count else "", formula(layer)
        )
    table.add_section()
    table.add_row("an image", "", "", f"{total:,}", "")
    Console(highlight=False, width=max(Console().width, _TABLE_COLUMNS)).print(table)
    print("output size = (input - (filter + (filter - 1)(dilation - 1)) + 2 padding) / stride + 1")


def windows(layer: Any) -> tuple[tuple[int, int], tuple[int, int], tuple[int, int]]:
    """Return kernel size, strides and dilation of a layer; 1 if it has none."""
    if type(layer).__name__.startswith("Global") or "Transpose" in type(layer).__name__:
        return (1, 1), (1, 1), (1, 1)
    kernel = getattr(layer, "kernel_size", None) or getattr(layer, "pool_size", None)
    if not isinstance(kernel, tuple):
        return (1, 1), (1, 1), (1, 1)
    return tuple(kernel), tuple(layer.strides), tuple(getattr(layer, "dilation_rate", (1, 1)))


def formula(layer: Any) -> str:
    """Return the tutorial's formula with a layer's numbers; empty for layers without a window."""
    kernel, stride, dilation = (sizes[0] for sizes in windows(layer))
    if kernel == 1 and stride == 1:
        return ""
    size, out = layer.input.shape[1], layer.output.shape[1]
    # "same" padding; an odd sum pads one more row at the end.
    padding = max(0, (out - 1) * stride + kernel + (kernel - 1) * (dilation - 1) - size) / 2
    dilated = f"({kernel} + {kernel - 1}*{dilation - 1})" if dilation > 1 else str(kernel)
    left = (size + 2 * padding - kernel - (kernel - 1) * (dilation - 1)) / stride
    rounded = "rounded down " if left % 1 else ""
    return f"({size} - {dilated} + 2*{padding:g}) / {stride} + 1 = {rounded}{out}"


def multiply_adds(layer: Any, before: tuple[int, ...], after: tuple[int, ...]) -> int:
    """Return the multiply-adds per image; 0 for layers without kernels."""
    grid = before if "Transpose" in type(layer).__name__ else after
    positions = math.prod(grid[:-1])
    return sum(positions * math.prod(weight.shape) for weight in layer.weights if "kernel" in weight.name)


def data(source: str, /, *, picture: Path | None = None) -> int:
    """Describe a data set: counts, class balance, checksum.

    Parameters
    ----------
    source
        sample, mnist, a folder, a file of labelled images, or X_train,y_train,X_test,y_test.
    picture
        Also write a sheet of training images, a row a digit, as PNG.

    """
    from rich.console import Console  # noqa: PLC0415  # help and usage errors need none of it

    from trainer.data.dataset import load_data  # noqa: PLC0415

    dataset = load_data(source)
    print(f"name    {dataset.name}\nsha256  {dataset.sha256}")
    Console(highlight=False).print(counts_table(dataset))
    if picture:
        save_picture(picture, dataset)
        print(f"picture {picture}")
    return 0


def counts_table(dataset: "Dataset") -> Any:
    """Return a rich table of the training and the test part."""
    from rich.table import Table  # noqa: PLC0415

    table = Table("", "training", "test")
    for column in table.columns[1:]:
        column.justify = "right"
    parts = ((dataset.x_train, dataset.y_train), (dataset.x_test, dataset.y_test))
    rows = [[image.tobytes() for image in images] for images, _ in parts]
    table.add_row("images", *(f"{len(images):,}" for images, _ in parts))
    for digit in range(10):
        counts = [int((digits == digit).sum()) for _, digits in parts]
        cells = (
            f"{count:,} {count / max(1, len(own[1])):7.1%}" for count, own in zip(counts, parts, strict=True)
        )
        table.add_row(f"digit {digit}", *cells)
    table.add_row("mean pixel", *(f"{images.mean():.1f}" for images, _ in parts))
    table.add_row("blank images", *(f"{int((~images.any(axis=1)).sum()):,}" for images, _ in parts))
    table.add_row("repeated images", *(f"{len(part) - len(set(part)):,}" for part in rows))
    training = set(rows[0])
    table.add_row("also in training", "", f"{sum(row in training for row in rows[1]):,}")
    return table


def save_picture(path: Path, dataset: "Dataset") -> None:
    """Write a sheet of training images, a row a digit, dark on white. Raises TrainerError."""
    import numpy as np  # noqa: PLC0415
    from PIL import Image  # noqa: PLC0415  # only for --picture

    from trainer.data.dataset import DIGITS, SIDE  # noqa: PLC0415

    step = SIDE + _GAP_PIXELS
    sheet = np.zeros((DIGITS * step + _GAP_PIXELS, _SHEET_COLUMNS * step + _GAP_PIXELS), np.uint8)
    for digit in range(DIGITS):
        own = dataset.x_train[np.flatnonzero(dataset.y_train == digit)[:_SHEET_COLUMNS]]
        for column, image in enumerate(own.reshape(-1, SIDE, SIDE)):
            top, left = digit * step + _GAP_PIXELS, column * step + _GAP_PIXELS
            sheet[top : top + SIDE, left : left + SIDE] = image
    picture = Image.fromarray(255 - sheet)
    size = (picture.width * _SHEET_SCALE, picture.height * _SHEET_SCALE)
    try:
        picture.resize(size, Image.Resampling.BICUBIC).save(path)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise TrainerError(f"{path}: cannot write the picture: {reason}") from error
