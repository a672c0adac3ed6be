"""A recipe told layer by layer."""

from trainer.layers import Conv2D
from trainer.recipe import Recipe
from trainer.shapes import Shape, Stage, stages


def explanation(recipe: Recipe) -> str:
    """Return a table of the layers: output shape, receptive field, parameters, multiply-adds."""
    rows = [_row(i, stage) for i, stage in enumerate(stages(recipe.layers))]
    done = stages(recipe.layers)
    head = ("", "layer", "output", "sees", "parameters", "multiply-adds")
    total = (
        "",
        "an image",
        "",
        "",
        f"{sum(stage.parameters for stage in done):,}",
        f"{sum(stage.multiply_adds for stage in done):,}",
    )
    table = [head, *rows, total]
    widths = [max(len(row[column]) for row in table) for column in range(len(head))]
    lines = [_line(row, widths) for row in table]
    lines.insert(-1, "-" * len(lines[0]))
    fit = recipe.fit
    course = (
        f"fit: {fit.epochs} epochs of batches of {fit.batch_size}, {fit.optimizer.kind} at "
        f"{fit.learning_rate:g} ({fit.schedule}), {fit.validation_fraction:.0%} held out for validation"
    )
    formula = "output size = (input - (filter + (filter - 1)(dilation - 1)) + 2 padding) / stride + 1"
    return "\n".join([f"{recipe.name}: {recipe.summary}", "", *lines, "", formula, course])


def _row(index: int, stage: Stage) -> tuple[str, ...]:
    field = stage.receptive_field
    return (
        str(index),
        _title(stage),
        _shape(stage.output_shape),
        _shape(field) if field else "",
        f"{stage.parameters:,}" if stage.parameters else "",
        f"{stage.multiply_adds:,}" if stage.multiply_adds else "",
    )


def _title(stage: Stage) -> str:
    """Return the kind and the options that differ from the plainest layer of that kind."""
    layer = stage.layer
    words: list[str] = [layer.kind]
    if isinstance(layer, Conv2D):
        words.append(f"{layer.filters} of {_shape(layer.kernel_size)}")
        words += [f"stride {_shape(layer.strides)}"] * (layer.strides != (1, 1))
        words += [f"dilation {_shape(layer.dilation_rate)}"] * (layer.dilation_rate != (1, 1))
        words += ["same"] * (layer.padding == "same")
    activation = getattr(layer, "activation", "linear")
    words += [activation] * (activation != "linear")
    return " ".join(words)


def _shape(sizes: Shape) -> str:
    return "x".join(map(str, sizes))


def _line(row: tuple[str, ...], widths: list[int]) -> str:
    text, numbers = row[:4], row[4:]
    left = [cell.ljust(width) for cell, width in zip(text, widths, strict=False)]
    right = [cell.rjust(width) for cell, width in zip(numbers, widths[4:], strict=True)]
    return "  ".join(left + right).rstrip()
