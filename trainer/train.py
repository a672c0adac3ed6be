"""The trainer's steps: load, build, fit, fold, export, verify parity, evaluate, publish."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.backend import precision_policy
from trainer.data.captured import Captured
from trainer.data.dataset import Dataset, Split, split_validation
from trainer.errors import Stopped, TrainerError
from trainer.export.foreign import Foreign
from trainer.export.onnx import export_onnx
from trainer.export.predictor import Parity, keras_predictor, onnx_predictor, verify_parity
from trainer.fit import FitResult, fit
from trainer.network import fold, parameter_count, served_network
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.report.page import STAGES, write_report
from trainer.repository.manifest import golden_positions, golden_table, manifest_table
from trainer.repository.publish import publish, published_version, stable_version
from trainer.run import Checkpoint, Run, fingerprint_of
from trainer.teacher import teacher_sha256

_STAGES = ("fold", "export", "verify parity", *STAGES)


@dataclass(frozen=True)
class Job:
    """Recipe, data and destination of a training job."""

    recipe: Recipe
    data: str
    run: Run
    repository: Path | None
    seed: int
    epochs: int | None = None
    resume: bool = False
    overwrite: bool = False
    stop: threading.Event | None = None
    captured: Captured | None = None


@dataclass(frozen=True)
class Outcome:
    """The result of a job; `parity` is None if the run had already finished."""

    manifest: dict[str, Any]
    parity: Parity | None
    published: Path | None


def train(job: Job, dataset: Dataset, progress: Progress) -> Outcome:
    """Run a job from data to published version, with all files in the run directory.

    Raises TrainerError, and Stopped if `stop` was requested; nothing is published then.
    """
    run, recipe = job.run, job.recipe
    split = load_split(recipe, dataset)
    if job.captured is not None:
        split = job.captured.join(split)
    epochs = job.epochs or recipe.fit.epochs_for(len(split.y_train))
    policy = precision_policy(recipe.fit.precision)
    network = served_network(recipe)  # Keras checks the recipe before the run directory is changed
    teacher = teacher_sha256(recipe)
    captured = job.captured.sha256 if job.captured is not None else None
    digests = [digest for digest in (dataset.sha256, teacher, captured) if digest is not None]
    fingerprint = fingerprint_of(recipe, job.seed, epochs, policy, *digests)
    parity: Parity | None = None
    if not run.begin(recipe, fingerprint, job.data, resume=job.resume, overwrite=job.overwrite):
        progress.say(f"recipe  {recipe.name}: {recipe.summary} ({parameter_count(network):,} parameters)")
        progress.say(
            f"data    {dataset.name}: {len(split.y_train):,} training images, "
            f"{len(split.y_validation):,} validation images, {len(dataset.y_test):,} test images"
        )
        if job.captured is not None:
            progress.say(f"extra   {job.captured.described}")
        if epochs != recipe.fit.epochs and job.epochs is None:
            progress.say(f"epochs  {epochs} (small data set; {recipe.fit.epochs} on all of MNIST)")
        checkpoint = Checkpoint(run.checkpoint)
        result = fit(
            *(recipe, split),
            epochs=epochs,
            seed=job.seed,
            policy=policy,
            progress=progress,
            checkpoint=checkpoint,
            stop=job.stop,
        )
        if job.stop is not None and job.stop.is_set():
            raise Stopped("stopped after the last epoch")
        with progress.stages(_STAGES) as stage:
            parity = finish(job, result, dataset, split, stage)
    published: Path | None = None
    if job.repository is not None:
        published = published_version(run, job.repository) or publish(run, job.repository)
    return Outcome(run.read_manifest(), parity, published)


def load_split(recipe: Recipe, dataset: Dataset) -> Split:
    """Return training and validation images. Raises TrainerError if a part would be empty."""
    split = split_validation(dataset, recipe.fit.validation_fraction)
    for part, digits in (("validation", split.y_validation), ("training", split.y_train)):
        if not len(digits):
            raise TrainerError(
                f"{recipe.source}: fit.validation_fraction: {recipe.fit.validation_fraction:g} of "
                f"{len(dataset.y_train)} images leaves no {part} image"
            )
    return split


def finish(
    job: Job, result: FitResult, dataset: Dataset, split: Split, stage: Callable[[str], None]
) -> Parity:
    """Export, verify and evaluate a fitted network, and write report and manifest."""
    run, recipe = job.run, job.recipe
    stage("fold")
    network = fold(recipe, result.network)
    run.write_history(result.history)
    run.write_network(network)
    stage("export")
    export_onnx(network, run.model, {"recipe": recipe.name, "data": dataset.name, "seed": str(job.seed)})
    stage("verify parity")
    exported = onnx_predictor(run.model)(dataset.x_test)
    parity = verify_parity(keras_predictor(network)(dataset.x_test), exported)
    facts = {
        "recipe": recipe.name,
        "seed": job.seed,
        "parameters": parameter_count(network),
        "exported_epoch": result.exported_epoch,
        "data": dataset.identity
        | {"train_images": len(split.y_train), "validation_images": len(split.y_validation)},
    }
    if (teacher := teacher_sha256(recipe)) is not None:
        facts["teacher_sha256"] = teacher
    if job.captured is not None:
        facts["captured"] = job.captured.measure(onnx_predictor(run.model))
    stable = stable_version(job.repository, recipe.name) if job.repository is not None else None
    _report(run, facts, dataset, exported, stable, stage)
    return parity


def finish_import(foreign: Foreign, run: Run, dataset: Dataset, stable: Path | None) -> float:
    """Wrap and measure a foreign model, write report and manifest; return its test accuracy."""
    parameters = foreign.wrap(run.model, {"imported": foreign.path.name, "sha256": foreign.sha256})
    facts = {
        "recipe": foreign.path.stem,
        "imported": {"file": foreign.path.name, "sha256": foreign.sha256, "input": str(foreign)},
        "parameters": parameters,
        "data": dataset.identity,
    }
    return _report(run, facts, dataset, onnx_predictor(run.model)(dataset.x_test), stable)


def _report(  # noqa: PLR0913, PLR0917  # model, predictions, facts, destination
    run: Run,
    facts: dict[str, Any],
    dataset: Dataset,
    probabilities: NDArray[np.float32],
    stable: Path | None,
    stage: Callable[[str], None] = lambda _: None,
) -> float:
    """Write report and manifest of a graph that gave `probabilities` [n, 10]; return its test accuracy."""
    golden = golden_positions(dataset.y_test)
    accuracy = float((probabilities.argmax(axis=1) == dataset.y_test).mean())
    answers = golden_table(dataset.x_test[golden], probabilities[golden])
    table = manifest_table(run.folder, facts, answers, accuracy)
    write_report(run, table, dataset, stable, stage)
    run.write_manifest(table)
    return accuracy
