"""`digit-trainer train`."""

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import FrameType
from typing import Annotated

from cyclopts import Parameter, validators

from trainer.errors import Stopped, writing
from trainer.recipe import load_recipe, with_architecture
from trainer.repository.publish import check_destination
from trainer.run import Run

SIGTERM_EXIT = 143
"""Exit code of a process that SIGTERM ended."""

AtLeastOne = Annotated[int, Parameter(validator=validators.Number(gte=1))]
Seed = Annotated[int, Parameter(validator=validators.Number(gte=0, lt=2**31))]


def train(  # noqa: PLR0913  # each is a flag
    *,
    recipe: str = "digits",
    data: str,
    extra: Path | None = None,
    repository: Path | None = None,
    run_dir: Path | None = None,
    resume: bool = False,
    overwrite: bool = False,
    epochs: AtLeastOne | None = None,
    seed: Seed | None = None,
    config_json: Path | None = None,
) -> int:
    """Train, evaluate, export, verify and publish a network.

    Parameters
    ----------
    recipe
        Name of a shipped recipe, or a TOML file.
    data
        sample (5,000 real digits, no download), mnist, or a folder of IDX, npz or TSV files.
    extra
        Folder of captured images that `digit-client label` sorted by digit, to train on as well.
    repository
        Model repository to publish into; without it the result stays in the run directory.
    run_dir
        Where everything about this run is kept; a new folder below runs/ if not given.
    resume
        Go on after the last finished epoch of the run in --run-dir. With --overwrite, begin anew where
        there is no run or one of something else, as a job that runs unattended wants.
    overwrite
        Replace the run in --run-dir.
    epochs
        Passes over the training images, instead of the recipe's.
    seed
        Decides every random draw, instead of the recipe's.
    config_json
        Keras architecture JSON whose layers replace the recipe's.

    """
    chosen = load_recipe(recipe)
    if config_json:
        chosen = with_architecture(chosen, config_json)
    run = Run(run_dir or Path("runs") / f"{chosen.name}-{datetime.now().astimezone():%Y%m%d-%H%M%S}")
    run.check(resume=resume, overwrite=overwrite)
    check_destination(repository or run.folder, chosen.name)
    # Errors in the arguments are reported before TensorFlow is imported and the data is read.
    from trainer.data.dataset import load_data  # noqa: PLC0415

    dataset = load_data(data)
    captured = None
    if extra is not None:
        from trainer.data.captured import load_captured  # noqa: PLC0415

        captured = load_captured(extra)
    from trainer.progress import Progress  # noqa: PLC0415
    from trainer.train import Job  # noqa: PLC0415
    from trainer.train import train as run_job  # noqa: PLC0415

    with stop_on_sigterm() as stop:
        job = Job(
            *(chosen, data, run, repository),
            seed=chosen.seed if seed is None else seed,
            epochs=epochs,
            resume=resume,
            overwrite=overwrite,
            stop=stop,
            captured=captured,
        )
        try:
            with writing(run.folder):
                published = run_job(job, dataset, Progress())
        except Stopped as stopped:
            sys.stderr.write(f"digit-trainer: {stopped}; --run-dir {run.folder} --resume continues it\n")
            return SIGTERM_EXIT
    manifest = run.read_manifest()
    images, accuracy = manifest["metrics"]["test_images"], manifest["metrics"]["test_accuracy"]
    print(f"test    {accuracy:.2%} of {images:,} test images ({round(images * (1 - accuracy))} wrong)")
    if captured is not None and len(captured.y_held):
        print(f"extra   {_on_captured(manifest['captured'])}")
    print(f"run     {run.folder}")
    print(f"report  {run.report / 'report.html'}")
    if published:
        print(f"model   {published}")
        print(f"next    digit-server --model-repository {repository}")
    else:
        print(f"next    digit-trainer publish {run.folder} --repository models --label stable")
    return 0


def _on_captured(facts: dict[str, int]) -> str:
    from trainer.report.scores import wilson  # noqa: PLC0415  # already imported

    images, right = facts["test_images"], facts["right"]
    low, high = wilson(right, images)
    return (
        f"{right / images:.2%} of {images:,} captured images held apart ({images - right} wrong; "
        f"95 % interval {low:.2%} to {high:.2%})"
    )


@contextmanager
def stop_on_sigterm() -> Iterator[threading.Event]:
    """Yield an event that the first SIGTERM sets; the second one ends the process."""
    wanted = threading.Event()

    def request(_signal: int, _frame: FrameType | None) -> None:
        wanted.set()
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, request)
    try:
        yield wanted
    finally:
        signal.signal(signal.SIGTERM, before)
