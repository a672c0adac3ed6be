"""The trainer's steps: load, build, fit, fold, export, verify parity, evaluate, publish."""

import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.backend import precision_policy
from trainer.data.captured import Captured
from trainer.data.dataset import Dataset, Split, split_validation
from trainer.errors import Stopped, TrainerError
from trainer.export.foreign import Foreign
from trainer.export.onnx import export_onnx
from trainer.export.predictor import onnx_predictor
from trainer.fit import FitResult, fit
from trainer.network import fold, parameter_count, served_network
from trainer.progress import Progress
from trainer.recipe import Recipe
from trainer.report.evidence import gather
from trainer.report.page import write_report
from trainer.report.scores import Metrics
from trainer.repository.manifest import golden_positions, golden_table, manifest_table
from trainer.repository.publish import Destination, publish, published_version, stable_version
from trainer.run import Run, fingerprint_of
from trainer.teacher import teacher_sha256

STAGES = ("export", "predict", "robustness", "latency", "report")
"""What follows the last epoch; on a slow machine it takes a minute."""


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


def train(job: Job, dataset: Dataset, progress: Progress) -> Path | None:
    """Run a job from data to published version, with all files in the run directory.

    Returns the version's folder, if it is published. Raises TrainerError, and Stopped if `stop` was
    requested; nothing is published then.
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
    if run.begin(recipe, fingerprint, job.data, resume=job.resume, overwrite=job.overwrite):
        progress.say("run     finished before: same recipe, seed, epochs, precision and data")
    else:
        progress.say(f"recipe  {recipe.name}: {recipe.summary} ({parameter_count(network):,} parameters)")
        progress.say(
            f"data    {dataset.name}: {len(split.y_train):,} training images, "
            f"{len(split.y_validation):,} validation images, {len(dataset.y_test):,} test images"
        )
        if job.captured is not None:
            progress.say(f"extra   {job.captured.described}")
        if epochs != recipe.fit.epochs and job.epochs is None:
            progress.say(f"epochs  {epochs} (small data set; {recipe.fit.epochs} on all of MNIST)")
        result = fit(
            *(recipe, split),
            epochs=epochs,
            seed=job.seed,
            policy=policy,
            progress=progress,
            checkpoint=run.checkpoint,
            stop=job.stop,
        )
        if job.stop is not None and job.stop.is_set():
            raise Stopped("stopped after the last epoch")
        with progress.stages(STAGES) as begin:
            metrics = finish(job, result, dataset, split, begin)
        progress.say(
            f"parity  ONNX agrees with Keras on all {metrics['parity_images']:,} "
            f"(largest difference {metrics['parity_max_difference']:.0e})"
        )
    if job.repository is None:
        return None
    to = Destination(repository=job.repository)
    return published_version(run, to) or publish(run, to)


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
    job: Job, result: FitResult, dataset: Dataset, split: Split, begin: Callable[[str], None]
) -> Metrics:
    """Export, verify and evaluate a fitted network, and write report and manifest; return the metrics.

    `begin` is called with the name of each of STAGES at its start.
    """
    run, recipe = job.run, job.recipe
    begin("export")
    network = fold(recipe, result.network)
    run.write_history(result.history)
    run.write_network(network)
    export_onnx(network, run.model, {"recipe": recipe.name, "data": dataset.name, "seed": str(job.seed)})
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
    return _evaluate(run, facts, dataset, stable, begin)


def finish_import(foreign: Foreign, run: Run, dataset: Dataset, stable: Path | None) -> Metrics:
    """Wrap and evaluate a foreign model, and write report and manifest; return the metrics."""
    parameters = foreign.wrap(run.model, {"imported": foreign.path.name, "sha256": foreign.sha256})
    facts = {
        "recipe": foreign.path.stem,
        "imported": {"file": foreign.path.name, "sha256": foreign.sha256, "input": str(foreign)},
        "parameters": parameters,
        "data": dataset.identity,
    }
    return _evaluate(run, facts, dataset, stable)


def _evaluate(
    run: Run,
    facts: dict[str, Any],
    dataset: Dataset,
    stable: Path | None,
    begin: Callable[[str], None] = lambda _: None,
) -> Metrics:
    """Measure the exported graph, and write report and manifest."""
    evidence = gather(run, facts, dataset, begin)
    begin("report")
    golden = golden_positions(dataset.y_test)
    answers = golden_table(dataset.x_test[golden], evidence.probabilities[golden])
    manifest = manifest_table(run.folder, facts, answers, evidence.metrics["test_accuracy"])
    write_report(run, manifest, evidence, stable)
    run.write_manifest(manifest)
    return evidence.metrics
