"""`digit-trainer train`."""

import sys
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import Parameter, validators

from trainer.errors import writing
from trainer.recipe import Recipe, load_recipe, with_architecture
from trainer.run import Run
from trainer.stop import Stopped, stop_on_sigterm

if TYPE_CHECKING:
    from trainer.observer import Observer

SIGTERM_EXIT = 143
"""What a shell reports for a process that SIGTERM ended."""

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**31))]


def train(  # noqa: PLR0913  # each is a flag
    *,
    recipe: str = "digits",
    data: str,
    repository: Path | None = None,
    run_dir: Path | None = None,
    resume: Annotated[bool, Parameter(negative="")] = False,
    epochs: AtLeastOne | None = None,
    seed: Seed | None = None,
    config_json: Path | None = None,
    tensorboard: Path | None = None,
) -> int:
    """Train, evaluate, export, verify and publish a network.

    SIGTERM saves the state and exits 143; the same command with --resume goes on from there.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or a TOML file.
    data
        sample (5,000 real digits, no download), mnist, or a folder of IDX, npz or TSV files.
    repository
        Model repository to publish into; without it the result stays in the run directory.
    run_dir
        Where everything about this run is kept; a new folder below runs/ if not given.
    resume
        Go on where the run in --run-dir stopped; begin it if it has not begun.
    epochs
        Passes over the training images, instead of the recipe's.
    seed
        Decides every random draw, instead of the recipe's.
    config_json
        Keras architecture JSON whose layers replace the recipe's.
    tensorboard
        Also write training curves for TensorBoard into this folder.

    """
    chosen = load_recipe(recipe)
    if config_json:
        chosen = with_architecture(chosen, config_json)
    # TensorFlow takes seconds to import; a mistake in the command line is told before that.
    from trainer.train import Job  # noqa: PLC0415
    from trainer.train import train as run_job  # noqa: PLC0415

    folder = run_dir or Path("runs") / f"{chosen.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}"
    with stop_on_sigterm() as stop:
        job = Job(
            chosen,
            data,
            Run(folder),
            repository,
            seed=chosen.seed if seed is None else seed,
            epochs=epochs,
            resume=resume,
            stop=stop,
        )
        try:
            with writing(folder):
                outcome = run_job(job, _observer(chosen, tensorboard))
        except Stopped as stopped:
            sys.stderr.write(f"digit-trainer: {stopped}; --run-dir {folder} --resume goes on from there\n")
            return SIGTERM_EXIT
    wrong = round(outcome.test_images * (1 - outcome.accuracy))
    print(
        f"test    {outcome.accuracy:.2%} of {outcome.test_images:,} images never trained on ({wrong} wrong)"
    )
    if outcome.parity:
        worst = outcome.parity.max_difference
        print(
            f"parity  ONNX agrees with Keras on all {outcome.parity.images:,} (largest difference {worst:.0e})"
        )
    print(f"run     {folder}")
    if outcome.published:
        print(f"model   {outcome.published}")
    return 0


def _observer(recipe: Recipe, tensorboard: Path | None) -> "Observer":
    from trainer.observer import Several  # noqa: PLC0415  # see above
    from trainer.progress import Progress  # noqa: PLC0415

    progress = Progress(recipe)
    if tensorboard is None:
        return progress
    from trainer.tensorboard import TensorBoard  # noqa: PLC0415

    return Several(progress, TensorBoard(tensorboard))
