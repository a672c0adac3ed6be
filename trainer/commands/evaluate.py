"""`digit-trainer evaluate`: how good a model is, apart from any training."""

from pathlib import Path
from typing import Literal

from trainer.data.source import load_test_images
from trainer.evaluation.calibration import calibrate
from trainer.evaluation.counts import Evaluation
from trainer.evaluation.counts import evaluate as count
from trainer.evaluation.interval import wilson
from trainer.prediction import load_model
from trainer.report.metrics import Metrics, metrics_text, score_metrics


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
    name, images, digits = load_test_images(data)
    probabilities = load_model(model)(images)
    evaluation = count(digits, probabilities.argmax(axis=1))
    metrics = score_metrics(evaluation, calibrate(digits, probabilities))
    print(metrics_text(metrics).rstrip() if output == "json" else _table(model, name, evaluation, metrics))
    return 0


def _table(model: Path, data: str, evaluation: Evaluation, metrics: Metrics) -> str:
    low, high = metrics["test_accuracy_low"], metrics["test_accuracy_high"]
    lines = [
        f"model     {model}",
        f"data      {data}: {evaluation.images:,} test images",
        f"accuracy  {evaluation.accuracy:.2%}, {evaluation.errors} wrong (95 % interval {low:.2%} to {high:.2%})",
        f"NLL       {metrics['test_nll_nats']:.4f} nats, Brier {metrics['test_brier']:.4f}, ECE {metrics['test_ece']:.2%}",
        "",
        "digit  images  precision  recall      F1  95 % interval of recall",
    ]
    for digit in range(10):
        own = int(evaluation.confusion[digit].sum())
        interval = wilson(int(evaluation.confusion[digit, digit]), own)
        precision, recall, f1 = (
            values[digit] for values in (evaluation.precision, evaluation.recall, evaluation.f1)
        )
        lines.append(
            f"{digit:>5}  {own:6,}     {precision:.4f}  {recall:.4f}  {f1:.4f}  {interval.low:.4f} to {interval.high:.4f}"
        )
    return "\n".join(lines)
