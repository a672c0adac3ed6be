"""The trainer's seven steps: load, build, fit, evaluate, export, verify parity, publish."""

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.checkpoint import Checkpoint
from trainer.data.dataset import Dataset, Split, split_validation
from trainer.data.source import load_data
from trainer.export import export_onnx
from trainer.fit import Course, fit_network
from trainer.manifest import DataFacts, Manifest, choose_golden, manifest_table
from trainer.network import fold, parameter_count
from trainer.observer import Epoch, Observer
from trainer.parity import Parity, verify_parity
from trainer.prediction import keras_predictor, onnx_predictor
from trainer.provenance import library_versions, source_commit
from trainer.publish import publish, published_version
from trainer.recipe import Recipe
from trainer.report.record import write_data_source
from trainer.report.write import write_report
from trainer.run import Run, fingerprint_of
from trainer.stop import Stopped


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where the result goes."""

    recipe: Recipe
    data: str
    run: Run
    repository: Path | None
    seed: int
    epochs: int | None = None
    resume: bool = False
    stop: threading.Event | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job; `parity` is None when the run was finished before."""

    accuracy: float
    test_images: int
    parity: Parity | None
    published: Path | None


def train(job: Job, observer: Observer) -> Outcome:
    """Run a job from data to published version; everything it makes lies in the run directory.

    Raises TrainerError, and Stopped when asked to stop; then nothing was published.
    """
    dataset = load_data(job.data)
    split = split_validation(dataset, job.recipe.fit.validation_fraction)
    epochs = job.epochs or job.recipe.fit.epochs_for(len(split.y_train))
    run = job.run
    fingerprint = fingerprint_of(job.recipe, job.seed, epochs, dataset.sha256)
    parity: Parity | None = None
    if not run.begin(job.recipe, fingerprint, resume=job.resume):
        observer.loaded(dataset, split, epochs)
        course = Course(epochs, job.seed, Checkpoint(run.checkpoint, fingerprint), job.stop)
        fitted = fit_network(job.recipe, split, course, observer)
        if job.stop is not None and job.stop.is_set():
            raise Stopped("stopped after the last epoch")
        network = fold(job.recipe, fitted.network)
        parity = finish(job, network, fitted.history, dataset, split, fingerprint)
    published: Path | None = None
    if job.repository is not None:
        again = published_version(run, job.repository) if job.resume else None
        published = again or publish(run, job.repository)
    metrics = run.read_manifest()["metrics"]
    return Outcome(metrics["test_accuracy"], metrics["test_images"], parity, published)


def finish(  # noqa: PLR0913, PLR0917  # all that is known at the end of a training
    job: Job, network: Any, history: Sequence[Epoch], dataset: Dataset, split: Split, fingerprint: str
) -> Parity:
    """Evaluate, export and verify a served network, and leave all evidence in the run directory."""
    run = job.run
    run.write_history(history)
    run.write_network(network)

    metadata = {"recipe": job.recipe.name, "data": dataset.name, "seed": str(job.seed)}
    export_onnx(network, run.model, metadata)
    exported = onnx_predictor(run.model)(dataset.x_test)
    parity = verify_parity(keras_predictor(network)(dataset.x_test), exported)

    sizes = len(split.y_train), len(split.y_validation), len(dataset.y_test)
    manifest = Manifest(
        recipe=job.recipe.name,
        seed=job.seed,
        parameters=parameter_count(network),
        data=DataFacts(dataset.name, dataset.sha256, *sizes),
        libraries=library_versions(),
        source_commit=source_commit(),
        test_accuracy=float((exported.argmax(axis=1) == dataset.y_test).mean()),
        golden=choose_golden(dataset.x_test, dataset.y_test, exported),
    )
    table = manifest_table(manifest, run.folder)
    write_data_source(run, job.data)
    write_report(run, table, dataset)
    run.finish(table, fingerprint)
    return parity
