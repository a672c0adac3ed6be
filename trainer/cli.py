"""The `digit-trainer` command."""

import sys
from datetime import datetime
from pathlib import Path
from typing import Annotated

from cyclopts import App, CycloptsError, Parameter

from trainer.commands import register
from trainer.errors import TrainerError

app = App(
    name="digit-trainer",
    help="Train a network on labelled images of digits and publish it into a model repository.",
    version_flags=[],
)
register(app)


def _at_least_one(_type: object, value: int | None) -> None:
    if value is not None and value < 1:
        raise ValueError(f"{value}, expected at least 1")


_USAGE = 2
_INTERRUPTED = 130


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 bad data, 2 usage, 3 a gate refused."""
    try:
        return int(app(argv, exit_on_error=False, print_error=False, result_action="return_value") or 0)
    except CycloptsError as error:
        return _complain(" ".join(str(error).split()), _USAGE)
    except TrainerError as error:
        return _complain(str(error), error.exit_code)
    except KeyboardInterrupt:
        return _INTERRUPTED


def _complain(message: str, code: int) -> int:
    print(f"digit-trainer: {message}", file=sys.stderr)
    return code


@app.command
def train(  # noqa: PLR0913  # each is a flag
    *,
    recipe: str = "digits",
    data: str,
    repository: Path | None = None,
    run_dir: Path | None = None,
    epochs: Annotated[int | None, Parameter(validator=_at_least_one)] = None,
    seed: int | None = None,
) -> int:
    """Train, evaluate, export, verify and publish a network.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or a TOML file.
    data
        sample (5,000 real digits, no download), or a folder of IDX files, plain or gzip.
    repository
        Model repository to publish into; without it the result stays in the run directory.
    run_dir
        Where everything about this run is kept; a new folder below runs/ if not given.
    epochs
        Passes over the training images, instead of the recipe's.
    seed
        Decides every random draw, instead of the recipe's.

    """
    from trainer.recipe import load_recipe  # noqa: PLC0415

    chosen = load_recipe(recipe)
    # TensorFlow takes seconds to import; a mistake in the command line is told before that.
    from trainer.network import parameter_count, served_network  # noqa: PLC0415
    from trainer.progress import Progress  # noqa: PLC0415
    from trainer.train import Job  # noqa: PLC0415
    from trainer.train import train as run  # noqa: PLC0415

    folder = run_dir or Path("runs") / f"{chosen.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    job = Job(chosen, data, folder, repository, chosen.seed if seed is None else seed, epochs)
    outcome = run(job, Progress(chosen, parameter_count(served_network(chosen))))
    evaluation, parity = outcome.evaluation, outcome.parity
    wrong = evaluation.images - int(evaluation.confusion.trace())
    print(
        f"test    {evaluation.accuracy:.2%} of {evaluation.images:,} images never trained on ({wrong} wrong)"
    )
    print(
        f"parity  ONNX agrees with Keras on all {parity.images:,} (largest difference {parity.max_difference:.0e})"
    )
    print(f"run     {folder}")
    if outcome.published:
        print(f"model   {outcome.published}")
    return 0
