"""The trainer's seven steps: load, build, fit, evaluate, export, verify parity, publish."""

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from trainer.data.dataset import split_validation
from trainer.data.source import load_data
from trainer.evaluation.counts import Evaluation, evaluate
from trainer.export import export_onnx
from trainer.fit import Course, fit_network
from trainer.manifest import DataFacts, Manifest, choose_golden
from trainer.network import fold, parameter_count
from trainer.observer import Epoch, Observer
from trainer.parity import Parity, verify_parity
from trainer.prediction import keras_predictor, onnx_predictor
from trainer.provenance import library_versions, source_commit
from trainer.publish import publish
from trainer.recipe import Recipe
from trainer.report.confusion_matrix import plot_confusion_matrix
from trainer.report.metrics import metrics_table, write_metrics


@dataclass(frozen=True)
class Job:
    """What to train, on what, and where the result goes."""

    recipe: Recipe
    data: str
    run_dir: Path
    repository: Path | None
    seed: int
    epochs: int | None = None


@dataclass(frozen=True)
class Outcome:
    """What came of a job."""

    evaluation: Evaluation
    parity: Parity
    published: Path | None


def train(job: Job, observer: Observer) -> Outcome:
    """Run a job from data to published version; everything it makes lies in the run directory.

    Raises TrainerError; then nothing was published.
    """
    dataset = load_data(job.data)
    split = split_validation(dataset, job.recipe.fit.validation_fraction)
    epochs = job.epochs or job.recipe.fit.epochs_for(len(split.y_train))
    observer.loaded(dataset, split, epochs)
    job.run_dir.mkdir(parents=True, exist_ok=True)

    fitted = fit_network(job.recipe, split, Course(epochs, job.seed), observer)
    _write_history(job.run_dir / "history.csv", fitted.history)
    network = fold(job.recipe, fitted.network)
    network.save(job.run_dir / "model.keras")

    probabilities = keras_predictor(network)(dataset.x_test)
    evaluation = evaluate(dataset.y_test, probabilities.argmax(axis=1))

    model_path = job.run_dir / "model.onnx"
    export_onnx(network, model_path, {"recipe": job.recipe.name, "data": dataset.name, "seed": str(job.seed)})
    exported = onnx_predictor(model_path)(dataset.x_test)
    parity = verify_parity(probabilities, exported)

    report = job.run_dir / "report"
    report.mkdir(exist_ok=True)
    facts: dict[str, Any] = {
        "validation_accuracy": fitted.history[-1].validation_accuracy,
        "epochs": epochs,
        "fit_duration_seconds": round(sum(epoch.duration_seconds for epoch in fitted.history), 1),
        "parameters": parameter_count(network),
        "model_bytes": model_path.stat().st_size,
    }
    write_metrics(report / "metrics.json", metrics_table(evaluation, parity, facts))
    plot_confusion_matrix(report / "confusion_matrix.png", evaluation.confusion)

    if job.repository is None:
        return Outcome(evaluation, parity, None)
    manifest = Manifest(
        recipe=job.recipe.name,
        seed=job.seed,
        parameters=parameter_count(network),
        data=DataFacts(
            dataset.name, dataset.sha256, len(split.y_train), len(split.y_validation), len(dataset.y_test)
        ),
        libraries=library_versions(),
        source_commit=source_commit(),
        test_accuracy=evaluation.accuracy,
        golden=choose_golden(dataset.x_test, dataset.y_test, exported),
    )
    published = publish(manifest, model_path, report, job.repository, job.recipe.name)
    return Outcome(evaluation, parity, published)


def _write_history(path: Path, history: tuple[Epoch, ...]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Epoch)])
        writer.writeheader()
        writer.writerows(asdict(epoch) for epoch in history)
