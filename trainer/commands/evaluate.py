"""`digit-trainer predict`, `evaluate`, `report`, `compare` and `quantize`: commands for trained models."""

import sys
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from rich.console import Console
from rich.table import Table

from trainer.errors import TrainerError, writing
from trainer.run import Run

_MIN_SPEEDUP = 1.3
_MAX_OTHER_DIGITS = 0.001
_MAX_ACCURACY_LOSS = 0.0005
_BATCH_IMAGES = 64
_CALIBRATION_IMAGES = 2000
# Rounding to 8 bits moves the probabilities of doubtful images; the digits are what must stay.
_GOLDEN_TOLERANCE = 0.2


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
    from trainer.data import read_images  # noqa: PLC0415  # help and usage errors need none of it
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
    from trainer.data import load_test_images  # noqa: PLC0415  # help and usage errors need none of it
    from trainer.export.predictor import load_model  # noqa: PLC0415
    from trainer.report.evidence import metrics_text, score_metrics  # noqa: PLC0415
    from trainer.report.scores import score  # noqa: PLC0415

    name, images, digits = load_test_images(data)
    scores = score(digits, load_model(model)(images))
    if output == "json":
        print(metrics_text(score_metrics(scores)).rstrip())
        return 0
    interval = scores.accuracy_interval
    print(f"model     {model}")
    print(f"data      {name}: {scores.images:,} test images")
    print(
        f"accuracy  {scores.accuracy:.2%}, {scores.errors} misclassified "
        f"(95 % interval {interval.low:.2%} to {interval.high:.2%})"
    )
    print(f"NLL       {scores.nll_nats:.4f} nats, Brier {scores.brier:.4f}, ECE {scores.ece:.2%}\n")
    table = _table("digit", "images", "precision", "recall", "F1", "95 % interval of recall")
    for digit in range(10):
        recall = scores.interval("recall", digit)
        values = (scores.precision[digit], scores.recall[digit], scores.f1[digit])
        table.add_row(
            str(digit),
            f"{scores.confusion[digit].sum():,}",
            *(f"{value:.4f}" for value in values),
            f"{recall.low:.4f} to {recall.high:.4f}",
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
    from trainer.report.page import write_report  # noqa: PLC0415  # help and usage errors need none of it

    run = Run(folder)
    manifest = run.read_manifest()
    scores = write_report(run, manifest, run.read_data(data), stable).scores
    print(f"test    {scores.accuracy:.2%} of {scores.images:,} images ({scores.errors} misclassified)")
    print(f"report  {run.report / 'report.html'}")
    return 0


def compare(first: Path, second: Path, /) -> int:
    """Decide with McNemar's test whether one of two models is better.

    Both must have been tested on the same images; only those that one got right and the other wrong count.

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

    runs = Run(first), Run(second)
    data = [run.read_manifest()["data"] for run in runs]
    digest = "test_sha256" if all("test_sha256" in facts for facts in data) else "sha256"
    if data[0][digest] != data[1][digest]:
        raise TrainerError(
            f"{second}: tested on {data[1]['name']} ({data[1][digest][:12]}...), expected the test images of "
            f"{first}: {data[0]['name']} ({data[0][digest][:12]}...)"
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


def quantize(folder: Path, /, *, data: str | None = None) -> int:
    """Quantize a run's model to 8 bits, and keep that beside the float model if it pays.

    It pays when it is 1.3 times as fast on this CPU, predicts the same digit for 99.9 % of the validation
    images (all but one of a small set) and loses at most 0.05 points of accuracy on them. `publish` then
    takes it along.

    Parameters
    ----------
    folder
        Run directory of `train`.
    data
        The run's data, if it has moved.

    """
    from trainer.data import split_validation, stratified  # noqa: PLC0415  # TensorFlow takes seconds to import
    from trainer.export.predictor import (  # noqa: PLC0415
        load_network,
        onnx_predictor,
        speed_ratio,
    )
    from trainer.export.quantize import quantize as write_int8  # noqa: PLC0415
    from trainer.repository.manifest import golden_positions, golden_table  # noqa: PLC0415

    run = Run(folder)
    manifest, dataset = run.read_manifest(), run.read_data(data)
    split = split_validation(dataset, run.read_recipe().fit.validation_fraction)
    x, y = split.x_validation, split.y_validation
    # All ten digits, however the data is sorted.
    calibration = stratified(y, min(1.0, _CALIBRATION_IMAGES / len(y)))[1]
    metadata = {"recipe": manifest["recipe"], "data": dataset.name, "seed": str(manifest["seed"])}
    with writing(folder):
        write_int8(load_network(run.network), run.integer_model, x[calibration], metadata)
    in_float, in_int8 = onnx_predictor(run.model), onnx_predictor(run.integer_model)
    float_digits, digits = (each(x).argmax(axis=1) for each in (in_float, in_int8))
    accuracy, float_accuracy = float((digits == y).mean()), float((float_digits == y).mean())
    same = float((digits == float_digits).mean())
    speedup = speed_ratio(run.model, run.integer_model, x, _BATCH_IMAGES)
    one = 1.001 / len(y)  # a single image decides nothing, however small the validation set
    pays = (
        speedup >= _MIN_SPEEDUP
        and 1 - same <= max(_MAX_OTHER_DIGITS, one)
        and float_accuracy - accuracy <= max(_MAX_ACCURACY_LOSS, one)
    )
    manifest.pop("int8", None)
    if pays:
        probabilities = in_int8(dataset.x_test)
        golden = golden_positions(dataset.y_test)
        test_digits = probabilities.argmax(axis=1)
        manifest["int8"] = {
            "file": run.integer_model.name,
            "test_accuracy": float((test_digits == dataset.y_test).mean()),
            "same_digits": float((test_digits == in_float(dataset.x_test).argmax(axis=1)).mean()),
            "golden": golden_table(dataset.x_test[golden], probabilities[golden], _GOLDEN_TOLERANCE),
        }
    else:
        run.integer_model.unlink()
    with writing(folder):
        run.write_manifest(manifest)
    print(f"validation   {len(y):,} images")
    print(f"accuracy     {accuracy:.2%} in 8 bits, {float_accuracy:.2%} in float")
    print(f"same digits  {same:.2%}")
    print(f"speed        {speedup:.2f} times the float graph's, batches of {_BATCH_IMAGES} on one thread")
    print(f"kept         {run.integer_model}" if pays else "not kept: it does not pay")
    return 0


def _table(*columns: str) -> Table:
    table = Table(box=None, header_style="", padding=(0, 2, 0, 0))
    for column in columns:
        table.add_column(column, justify="left" if column in {"", "digit"} else "right")
    return table


def _print(table: Table) -> None:
    Console(file=sys.stdout, width=100, highlight=False).print(table)
