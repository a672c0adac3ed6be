"""`digit-trainer recipes` and `explain`."""

from pathlib import Path

from trainer.checkpoint import write_durably
from trainer.explain import explanation
from trainer.recipe import load_recipe, shipped_recipes, with_architecture
from trainer.shapes import stages


def recipes() -> int:
    """List the recipes that ship with the package."""
    for name in shipped_recipes():
        recipe = load_recipe(name)
        parameters = sum(stage.parameters for stage in stages(recipe.layers))
        print(f"{name:10s}  {parameters:>9,} parameters  {recipe.summary}")
    return 0


def explain(
    recipe: str = "digits", /, *, config_json: Path | None = None, to_json: Path | None = None
) -> int:
    """Print each layer of a recipe: output shape, receptive field, parameters, multiply-adds.

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
    print(explanation(chosen))
    if to_json:
        # TensorFlow takes seconds to import and nothing above needs it.
        from trainer.network import served_network  # noqa: PLC0415

        write_durably(to_json, (served_network(chosen).to_json(indent=2) + "\n").encode())
        print(f"\narchitecture  {to_json}")
    return 0
