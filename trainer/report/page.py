"""The report folder: page, model card, figures, metrics, predictions."""

import base64
import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import DIGITS, SIDE, Dataset
from trainer.errors import TrainerError, writing
from trainer.export.predictor import machine
from trainer.report import evidence as measured
from trainer.report.evidence import Evidence, gather, metrics_text, run_metrics
from trainer.report.figures import Panel, figures, save_png, svg, tutorial_confusion_matrix
from trainer.report.robustness import CONFIDENT
from trainer.report.scores import MISCLASSIFIED, write_misclassified
from trainer.run import Run

STAGES = (*measured.STAGES, "report")
"""The stages of `write_report`, in order."""

_MISCLASSIFIED_SHOWN = 40
_CONFUSIONS_SHOWN = 6
_EXAMPLE_DIGIT = 3
_SETTINGS = ("filters", "units", "kernel_size", "pool_size", "target_shape", "padding", "rate", "activation")
_COMPARED = {  # metrics compared with the stable version: title, format, whether higher is better
    "test_accuracy": ("Test accuracy", "{:.2%}", True),
    "test_nll_nats": ("Negative log-likelihood, nats", "{:.4f}", False),
    "test_ece": ("Calibration error", "{:.2%}", False),
    "robustness_mean_accuracy": ("Accuracy, corrupted", "{:.2%}", True),
    "parameters": ("Parameters", "{:,}", False),
    "model_bytes": ("Model file, bytes", "{:,}", False),
}


def write_report(
    run: Run,
    manifest: dict[str, Any],
    dataset: Dataset,
    stable: Path | None = None,
    stage: Callable[[str], None] = lambda _: None,
) -> Evidence:
    """Measure a run's exported graph and write its report folder.

    The run directory must have recipe, history and both models. `stable` is the version folder to compare
    with; `stage` is called with the name of each of STAGES at its start. Raises TrainerError.
    """
    folder = run.report
    try:
        with writing(folder):
            folder.mkdir(exist_ok=True)  # errors are reported before half a minute of measurements
            evidence = gather(run, manifest, dataset, stable, stage)
            stage(STAGES[-1])
            drawn = figures(evidence)
            (folder / "metrics.json").write_text(metrics_text(run_metrics(evidence)), encoding="utf-8")
            write_misclassified(folder / MISCLASSIFIED, evidence.y_test, evidence.predicted)
            probabilities = evidence.probabilities
            (folder / "predictions.tsv").write_text(predictions_table(probabilities), encoding="ascii")
            (folder / "probabilities.tsv").write_text(probabilities_table(probabilities), encoding="ascii")
            for name, panels in drawn.items():
                save_png(folder / f"{name}.png", panels)
            tutorial = folder / "confusion_matrix.png"
            tutorial_confusion_matrix(tutorial, evidence.scores.confusion)
            page = report_page(evidence, drawn, tutorial.read_bytes())
            (folder / "report.html").write_text(page, encoding="utf-8")
            (folder / "MODEL_CARD.md").write_text(model_card(evidence), encoding="utf-8")
    except OSError as error:
        raise TrainerError(f"{error.filename}: cannot write the report: {error.strerror}") from error
    return evidence


def report_page(evidence: Evidence, drawn: dict[str, tuple[Panel, ...]], tutorial: bytes) -> str:
    """Return report.html, self-contained; `tutorial` is the tutorial's confusion matrix, PNG."""
    return _render(
        "report.html.j2",
        evidence,
        figures={name: [_uri(svg(panel), "svg+xml") for panel in panels] for name, panels in drawn.items()},
        tutorial=_uri(tutorial, "png"),
        misclassified=_misclassified(evidence),
        robustness=_robustness(evidence),
        examples=[(kind, _picture(kind.example)) for kind in evidence.out_of_distribution],
        layers=[_layer(layer) for layer in evidence.training.network.layers] if evidence.training else [],
        compared=_compared(evidence),
    )


def model_card(evidence: Evidence) -> str:
    """Return MODEL_CARD.md, with Hugging Face's header.

    Environment variables set the owner (DIGITS_MODEL_OWNER) and the licence (DIGITS_MODEL_LICENSE).
    """
    owner = os.environ.get("DIGITS_MODEL_OWNER", "not stated")
    return _render(
        "model_card.md.j2", evidence, owner=owner, license=os.environ.get("DIGITS_MODEL_LICENSE", "unknown")
    )


def predictions_table(probabilities: NDArray[np.float32]) -> str:
    """Return the most probable digits of probabilities [n, 10] as a table with the header `Predicted`."""
    return "\n".join(["Predicted", *map(str, probabilities.argmax(axis=1))]) + "\n"


def probabilities_table(probabilities: NDArray[np.float32]) -> str:
    """Return probabilities [n, 10] as a tab-separated table with the header `0 1 ... 9`."""
    header = "\t".join(map(str, range(DIGITS)))
    return "\n".join([header, *("\t".join(f"{p:.7g}" for p in row) for row in probabilities.tolist())]) + "\n"


def duration(seconds: float) -> str:
    """Return a duration for people."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "minutes")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} hours"


def _render(template: str, evidence: Evidence, **more: Any) -> str:
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # only reports need it

    environment = Environment(  # the model card is Markdown, not HTML
        loader=PackageLoader("trainer.report"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"duration": duration, "count": "{:,}".format}
    environment.filters["percent"] = lambda share, decimals=2: f"{share * 100:.{decimals}f} %"
    return environment.get_template(template).render(
        e=evidence,
        s=evidence.scores,
        training=evidence.training,
        manifest=evidence.manifest,
        captured=evidence.manifest.get("captured"),
        confusions=_confusions(evidence.scores.confusion),
        confident=CONFIDENT,
        machine=machine(),
        **more,
    )


def _layer(layer: Any) -> tuple[str, str, str, int]:
    """Return a row of the architecture table: class, settings, shape of one image's output, parameters."""
    config = layer.get_config()
    settings = [
        f"{name} {_words(config[name])}"
        for name in _SETTINGS
        if config.get(name) not in (None, "linear", "valid")
    ]
    if set(np.ravel(config.get("strides") or 1)) != {1} and config.get("strides") != config.get("pool_size"):
        settings.append(f"strides {_words(config['strides'])}")
    return type(layer).__name__, ", ".join(settings), _words(layer.output.shape[1:]), layer.count_params()


def _words(value: Any) -> str:
    return " x ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def _uri(content: bytes, kind: str) -> str:
    return f"data:image/{kind};base64," + base64.b64encode(content).decode("ascii")


def _picture(image: NDArray[np.uint8]) -> str:
    """Return an image [784] as a data URL of a PNG."""
    from PIL import Image  # noqa: PLC0415  # only reports need it

    content = io.BytesIO()
    Image.fromarray(image.reshape(SIDE, SIDE)).save(content, "PNG", optimize=True)
    return _uri(content.getvalue(), "png")


def _confusions(confusion: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return (true digit, predicted digit, images) of confusions of two images or more, most first."""
    wrong = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS_SHOWN]
    triples = [(int(i) // DIGITS, int(i) % DIGITS, int(wrong.flat[i])) for i in order]
    return [triple for triple in triples if triple[2] > 1]


def _misclassified(evidence: Evidence) -> list[tuple[int, int, int, float, str]]:
    """Return index, digits, confidence and picture of misclassified images, most confident first."""
    predicted, digits = evidence.predicted, evidence.y_test
    confidence = evidence.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != digits)
    return [
        (int(i), int(digits[i]), int(predicted[i]), float(confidence[i]), _picture(evidence.x_test[i]))
        for i in wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISCLASSIFIED_SHOWN]
    ]


def _robustness(evidence: Evidence) -> dict[str, list[tuple[str, float, float, str]]]:
    """Return a row per kind of corruption: levels, accuracies, heat (0-1, 1 the largest loss), pictures."""
    positions = np.flatnonzero(evidence.y_test == _EXAMPLE_DIGIT)
    example = evidence.x_test[positions[:1] if len(positions) else [0]]
    rows: dict[str, list[tuple[str, float, float, str]]] = {}
    for corruption, accuracy in evidence.robustness.accuracy.items():
        # The square root keeps small losses visible.
        heat = float(np.sqrt(np.clip(evidence.robustness.clean_accuracy - accuracy, 0, 1)))
        picture = _picture(corruption.apply(example)[0])
        rows.setdefault(corruption.title, []).append((corruption.level, accuracy, heat, picture))
    return rows


def _compared(evidence: Evidence) -> list[tuple[str, str, str, str]]:
    """Return rows of title, this run's value, stable version's value, and better, worse or same."""
    mine = run_metrics(evidence)
    theirs = evidence.stable.metrics if evidence.stable else {}
    rows = []
    for key, (title, form, more_is_better) in _COMPARED.items():
        if theirs.get(key) is not None:
            ours, other = form.format(mine[key]), form.format(theirs[key])
            better = "better" if (mine[key] > theirs[key]) == more_is_better else "worse"
            rows.append((title, ours, other, "same" if ours == other else better))
    return rows
