"""`digit-trainer predict`, `evaluate`, `report` and `compare`: commands for trained models."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from trainer.errors import TrainerError
from trainer.run import Run

_DIGIT_SCORES = ("images", "precision", "recall", "f1", "recall_low", "recall_high")


def predict(
    model: Path,
    table: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    proba: bool = False,
) -> int:
    """Predict the digits of the images in a table.

    Parameters
    ----------
    model
        ONNX or Keras model, or a run directory or published version.
    table
        Images without digits: a table (784 columns, with or without header) or IDX, plain or gzip.
    output
        File for the predictions, tab-separated; standard output if not given.
    proba
        Write ten probabilities a row, header 0-9, instead of one digit a row, header Predicted.

    """
    from trainer.data.dataset import read_images  # noqa: PLC0415  # help and usage errors need none of it
    from trainer.export.predictor import load_model  # noqa: PLC0415
    from trainer.report.page import predictions_table, probabilities_table  # noqa: PLC0415

    images = read_images(table)
    probabilities = load_model(model)(images)
    text = probabilities_table(probabilities) if proba else predictions_table(probabilities)
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        output.write_text(text, encoding="ascii")
    except OSError as error:
        raise TrainerError(f"{output}: cannot write predictions: {error.strerror}") from error
    return 0


def evaluate(model: Path, data: str, /, *, output: Literal["table", "json"] = "table") -> int:
    """Measure a model on the test images of a data set.

    Parameters
    ----------
    model
        ONNX or Keras model, or a run directory or published version.
    data
        sample, mnist, a folder, an npz file, X_train,y_train,X_test,y_test, or X_test,y_test.
    output
        table for people, json with the keys of metrics.json for programs.

    """
    from trainer.data.dataset import load_test_images  # noqa: PLC0415  # help and usage errors need none of it
    from trainer.export.predictor import load_model  # noqa: PLC0415
    from trainer.report.evidence import metrics_text  # noqa: PLC0415
    from trainer.report.scores import score  # noqa: PLC0415

    name, images, digits = load_test_images(data)
    metrics = score(digits, load_model(model)(images))
    if output == "json":
        print(metrics_text(metrics).rstrip())
        return 0
    print(f"model     {model}")
    print(f"data      {name}: {metrics['test_images']:,} test images")
    print(
        f"accuracy  {metrics['test_accuracy']:.2%}, {metrics['test_errors_images']} misclassified "
        f"(95 % interval {metrics['test_accuracy_low']:.2%} to {metrics['test_accuracy_high']:.2%})"
    )
    print(
        f"NLL       {metrics['test_nll_nats']:.4f} nats, "
        f"Brier {metrics['test_brier']:.4f}, ECE {metrics['test_ece']:.2%}\n"
    )
    table = _table("digit", "images", "precision", "recall", "F1", "95 % interval of recall")
    for digit in range(10):
        own = {key: metrics[f"digit_{digit}_{key}"] for key in _DIGIT_SCORES}
        table.add_row(
            str(digit),
            f"{own['images']:,}",
            *(f"{own[key]:.4f}" for key in ("precision", "recall", "f1")),
            f"{own['recall_low']:.4f} to {own['recall_high']:.4f}",
        )
    _print(table)
    return 0


def report(folder: Path, /, *, data: str | None = None, stable: Path | None = None) -> int:
    """Measure a run's model again and rebuild its report.

    Parameters
    ----------
    folder
        Directory of a finished run.
    data
        The run's data, if it has moved.
    stable
        Version folder of a model repository; the report then shows the difference to it.

    """
    from trainer.report.evidence import gather  # noqa: PLC0415  # help and usage errors need none of it
    from trainer.report.page import write_report  # noqa: PLC0415

    run = Run(folder)
    manifest = run.read_manifest()
    evidence = gather(run, manifest, run.read_data(data))
    write_report(run, manifest, evidence, stable)
    images, wrong = evidence.metrics["test_images"], evidence.metrics["test_errors_images"]
    print(f"test    {evidence.metrics['test_accuracy']:.2%} of {images:,} images ({wrong} misclassified)")
    print(f"report  {run.report / 'report.html'}")
    return 0


def compare(first: Path, second: Path, /) -> int:
    """Decide with McNemar's test whether one of two models is better.

    Parameters
    ----------
    first
        Run directory, or a published version.
    second
        Another one.

    """
    from trainer.report.scores import (  # noqa: PLC0415  # help and usage errors need none of it
        MISCLASSIFIED,
        SIGNIFICANT,
        compare_misclassified,
        read_misclassified,
    )
    from trainer.repository.manifest import same_test_images  # noqa: PLC0415

    runs = Run(first), Run(second)
    data = [run.read_manifest()["data"] for run in runs]
    if not same_test_images(*data):
        raise TrainerError(
            f"{second}: tested on {_data(data[1])}, expected the test images of {first}: {_data(data[0])}"
        )
    wrong = [read_misclassified(run.report / MISCLASSIFIED) for run in runs]
    images = data[0]["test_images"]
    result = compare_misclassified(images, *wrong)
    for which, name, misclassified in zip(
        ("first ", "second"), (first, second), map(len, wrong), strict=True
    ):
        accuracy = (images - misclassified) / images
        print(f"{which}  {name}: {accuracy:.2%} of {images:,} images ({misclassified} misclassified)")
    table = _table("", "second right", "second wrong")
    table.add_row("first right", f"{result.both_right:,}", f"{result.only_first_right:,}")
    table.add_row("first wrong", f"{result.only_second_right:,}", f"{result.both_wrong:,}")
    print()
    _print(table)
    better = "first" if result.only_first_right > result.only_second_right else "second"
    verdict = f"no significant difference (p is not below {SIGNIFICANT:g})"
    verdict = f"the {better} is better" if result.significant else verdict
    print(f"\nMcNemar's exact test: p = {result.p_value:.3g}; {verdict}")
    return 0


def _data(facts: dict[str, Any]) -> str:
    return f"{facts['name']} ({facts.get('test_sha256', facts['sha256'])[:12]}...)"


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column in {"", "digit"} else "right")
    return table


def _print(table: Table) -> None:
    Console(file=sys.stdout, width=100, highlight=False).print(table)
