"""The report folder: page, model card, figures, metrics, predictions."""

import base64
import io
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import DIGITS, SIDE
from trainer.errors import TrainerError, writing
from trainer.export.predictor import BATCHES_IMAGES, machine
from trainer.report.evidence import Evidence, metrics_text
from trainer.report.figures import figures, save_png, svg, tutorial_confusion_matrix
from trainer.report.robustness import CONFIDENT, CORRUPTIONS, out_of_distribution
from trainer.report.scores import (
    MISCLASSIFIED,
    compare_misclassified,
    read_misclassified,
    write_misclassified,
)
from trainer.repository.manifest import same_test_images
from trainer.run import Run

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


def write_report(run: Run, manifest: dict[str, Any], evidence: Evidence, stable: Path | None = None) -> None:
    """Write a run's report folder; `stable` is the version folder to compare with. Raises TrainerError."""
    folder, probabilities = run.report, evidence.probabilities
    compared = _compared(stable, manifest, evidence) if stable is not None else None
    try:
        with writing(folder):
            (folder / "metrics.json").write_text(metrics_text(evidence.metrics), encoding="utf-8")
            write_misclassified(folder / MISCLASSIFIED, evidence.y_test, evidence.predicted)
            (folder / "predictions.tsv").write_text(predictions_table(probabilities), encoding="ascii")
            (folder / "probabilities.tsv").write_text(probabilities_table(probabilities), encoding="ascii")
            for name, panels in figures(evidence).items():
                save_png(folder / f"{name}.png", panels)
            tutorial_confusion_matrix(folder / "confusion_matrix.png", evidence.confusion)
            page = report_page(run, manifest, evidence, compared)
            (folder / "report.html").write_text(page, encoding="utf-8")
            (folder / "MODEL_CARD.md").write_text(model_card(run, manifest, evidence), encoding="utf-8")
    except OSError as error:
        raise TrainerError(f"{error.filename}: cannot write the report: {error.strerror}") from error


def report_page(
    run: Run, manifest: dict[str, Any], evidence: Evidence, compared: dict[str, Any] | None = None
) -> str:
    """Return report.html, self-contained; `compared` is the comparison with the stable version."""
    drawn = figures(evidence).items()
    tutorial = (run.report / "confusion_matrix.png").read_bytes()
    return _render(
        "report.html.j2",
        *(run, manifest, evidence),
        figures={name: [_uri(svg(panel), "svg+xml") for panel in panels] for name, panels in drawn},
        tutorial=_uri(tutorial, "png"),
        misclassified=_misclassified(evidence),
        robustness=_robustness(evidence),
        layers=[_layer(layer) for layer in evidence.network.layers] if evidence.network else [],
        compared=compared,
    )


def model_card(run: Run, manifest: dict[str, Any], evidence: Evidence) -> str:
    """Return MODEL_CARD.md, with Hugging Face's header.

    Environment variables set the owner (DIGITS_MODEL_OWNER) and the licence (DIGITS_MODEL_LICENSE).
    """
    return _render(
        "model_card.md.j2",
        *(run, manifest, evidence),
        owner=os.environ.get("DIGITS_MODEL_OWNER", "not stated"),
        license=os.environ.get("DIGITS_MODEL_LICENSE", "unknown"),
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


def _render(template: str, run: Run, manifest: dict[str, Any], evidence: Evidence, **more: Any) -> str:
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
    unknown = out_of_distribution(evidence.x_test)
    return environment.get_template(template).render(
        m=evidence.metrics,
        manifest=manifest,
        recipe=run.read_recipe() if evidence.history else None,
        recipe_text=run.recipe.read_text(encoding="utf-8") if evidence.history else "",
        captured=manifest.get("captured"),
        confusions=_confusions(evidence.confusion),
        corruptions=len(CORRUPTIONS),
        worst=min(CORRUPTIONS, key=lambda each: evidence.metrics[each.metric]),
        unknown=[(name, title, len(x), _picture(x[0])) for name, (title, x) in unknown.items()],
        batches=BATCHES_IMAGES,
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
    for corruption in CORRUPTIONS:
        accuracy = evidence.metrics[corruption.metric]
        # The square root keeps small losses visible.
        heat = float(np.sqrt(np.clip(evidence.metrics["robustness_clean_accuracy"] - accuracy, 0, 1)))
        picture = _picture(corruption.apply(example)[0])
        rows.setdefault(corruption.title, []).append((corruption.level, accuracy, heat, picture))
    return rows


def _compared(folder: Path, manifest: dict[str, Any], evidence: Evidence) -> dict[str, Any] | None:
    """Return the comparison with a published version; None if it was tested on other images.

    `rows` are of title, this run's value, the version's value, and better, worse or same.
    """
    try:
        published = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
        theirs = json.loads((folder / "report" / "metrics.json").read_text(encoding="utf-8"))
        if not same_test_images(published["data"], manifest["data"]):
            return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainerError(f"{folder}: cannot be compared with: {error}") from error
    rows, mine = [], evidence.metrics
    for key, (title, form, more_is_better) in _COMPARED.items():
        if theirs.get(key) is not None:
            ours, other = form.format(mine[key]), form.format(theirs[key])
            better = "better" if (mine[key] > theirs[key]) == more_is_better else "worse"
            rows.append((title, ours, other, "same" if ours == other else better))
    wrong = {int(i) for i in np.flatnonzero(evidence.predicted != evidence.y_test)}
    their_wrong = read_misclassified(folder / "report" / MISCLASSIFIED)
    test = compare_misclassified(len(evidence.y_test), wrong, their_wrong)
    return {"version": folder.name, "test": test, "rows": rows}
