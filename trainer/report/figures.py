"""Figures of the report. Each is one or two panels: side by side in a PNG, one below the other on a phone."""

import io
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.report.evidence import Evidence
from trainer.report.scores import BINS, Curves, reliability, wilson

Panel = Callable[[Any], None]
"""Draws on matplotlib axes."""

INK, MUTED, GRID, QUIET = "#1b2330", "#667085", "#e4e7ec", "#b8c0cc"
ACCENT, SECOND, THIRD = "#2456d6", "#c2410c", "#0f766e"

_WIDTH, _HEIGHT = 4.2, 3.4
_DPI = 144
_FEW_IMAGES = 20
"""A share of fewer images than this says little; it is drawn in grey."""

_DASHED = {"color": QUIET, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 0}

_STYLE: Any = {
    "axes.axisbelow": True,
    "axes.edgecolor": GRID,
    "axes.facecolor": "none",
    "axes.grid": True,
    "axes.labelcolor": MUTED,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlepad": 10,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "figure.facecolor": "white",
    "font.family": ["DejaVu Sans", "sans-serif"],
    "font.size": 9,
    "grid.color": GRID,
    "legend.frameon": False,
    "legend.labelcolor": MUTED,
    "lines.linewidth": 1.8,
    "lines.solid_capstyle": "round",
    "svg.fonttype": "none",
    "svg.hashsalt": "digits",
    **{
        f"{axis}tick.{key}": value for axis in "xy" for key, value in (("color", GRID), ("labelcolor", MUTED))
    },
    **{f"{axis}tick.{which}.size": 0 for axis in "xy" for which in ("major", "minor")},
}


def figures(evidence: Evidence) -> dict[str, tuple[Panel, ...]]:
    """Return the panels of each figure by its name."""
    return {
        "learning_curves": (partial(_loss, evidence), partial(_error_rate, evidence)),
        "confusion": (partial(_confusion, evidence.scores.confusion),),
        "digit_scores": (partial(_digits, evidence, "recall"), partial(_digits, evidence, "precision")),
        "roc": (partial(_roc, evidence.curves),),
        "precision_recall": (partial(_precision_recall, evidence.curves),),
        "reliability": (partial(_reliability, evidence), partial(_confidences, evidence)),
    }


def save_png(path: Path, panels: tuple[Panel, ...]) -> None:
    """Write panels side by side; the same numbers give the same file."""
    path.write_bytes(_render(panels, "png", {"Software": None}))


def svg(panel: Panel) -> bytes:
    """Return one panel as an SVG file."""
    return _render((panel,), "svg", {"Date": None, "Creator": None}, transparent=True)


def tutorial_confusion_matrix(path: Path, confusion: NDArray[np.int64]) -> None:
    """Write the Galaxy tutorial's plot of counts [10, 10]: its titles, its green map."""
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        figure = Figure(figsize=(7.5, 6.5), dpi=110, layout="constrained")
        axes: Any = figure.subplots()
        figure.colorbar(axes.imshow(confusion, cmap="Greens"), ax=axes)
        axes.set(
            title="Confusion matrix between true and predicted labels", xticks=range(10), yticks=range(10)
        )
        axes.set(xlabel="Predicted class labels", ylabel="True class labels")
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if count > confusion.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
        figure.savefig(path, metadata={"Software": None})


def _render(panels: tuple[Panel, ...], form: str, metadata: dict[str, Any], **options: Any) -> bytes:
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    content = io.BytesIO()
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(_WIDTH * len(panels), _HEIGHT), layout="constrained")
        for panel, axes in zip(panels, figure.subplots(1, len(panels), squeeze=False)[0], strict=True):
            panel(axes)
        figure.savefig(content, format=form, dpi=_DPI, metadata=metadata, **options)
    return content.getvalue()


def _percent(axis: Any, digits: int = 4) -> None:
    axis.set_major_formatter(lambda value, _: f"{value * 100:.{digits}g} %")


def _loss(evidence: Evidence, axes: Any) -> None:
    epochs = evidence.history
    _course(axes, [epoch.loss for epoch in epochs], [epoch.val_loss for epoch in epochs])
    axes.set(title="Loss", ylabel="Loss, nats")
    axes.legend(loc="best")


def _error_rate(evidence: Evidence, axes: Any) -> None:
    epochs = evidence.history
    _course(axes, [1 - epoch.accuracy for epoch in epochs], [1 - epoch.val_accuracy for epoch in epochs])
    axes.set(title="Error rate", ylabel="Misclassified images")
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda value, _: f"{value * 100:g} %" if f"{value:e}"[0] in "125" else "")


def _course(axes: Any, training: list[float], validation: list[float]) -> None:
    marker = "o" if len(training) == 1 else None
    epochs = range(1, len(training) + 1)
    axes.plot(epochs, training, color=QUIET, marker=marker, label="training, augmented")
    axes.plot(epochs, validation, color=ACCENT, marker=marker, label="validation")
    axes.set(xlabel="Epoch", yscale="log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "125" else "")


def _confusion(confusion: NDArray[np.int64], axes: Any) -> None:
    """Draw counts; only misclassified images are shaded, as the diagonal would outshine them."""
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import

    wrong = confusion - np.diag(confusion.diagonal())
    shades = mpl.colors.LinearSegmentedColormap.from_list("shades", ["#ffffff00", "#f3b08f", SECOND])
    axes.imshow(wrong, cmap=shades, vmin=0, vmax=max(1, wrong.max()), aspect="auto")
    for (row, column), count in np.ndenumerate(confusion):
        bold = {"color": "white" if wrong[row, column] > 0.7 * wrong.max() else INK}
        if row == column:
            bold = {"color": ACCENT, "fontweight": "bold"}
        text = str(count) if count or row == column else "·"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, **bold)
    axes.set(title="Confusion matrix", xlabel="Predicted", ylabel="True", xticks=range(10), yticks=range(10))
    axes.grid(visible=False)


def _digits(evidence: Evidence, which: str, axes: Any) -> None:
    values = getattr(evidence.scores, which)
    for digit in range(10):
        interval = getattr(evidence.scores, f"{which}_interval")(digit)
        axes.plot([digit] * 2, [interval.low, interval.high], color=ACCENT, alpha=0.35, linewidth=5)
        axes.plot([digit], [values[digit]], "o", color=ACCENT, markersize=5)
    axes.axhline(evidence.scores.accuracy, **_DASHED)
    axes.set(title=f"{which.capitalize()}, 95 % intervals", xlabel="Digit", xticks=range(10))
    axes.set_ylabel(which.capitalize())
    axes.grid(visible=False, axis="x")
    _percent(axes.yaxis)


def _reliability(evidence: Evidence, axes: Any) -> None:
    axes.plot([0, 1], [0, 1], **_DASHED)
    for images, x, y in zip(*reliability(evidence.y_test, evidence.probabilities), strict=True):
        interval = wilson(round(images * y), int(images))
        colour = ACCENT if images >= _FEW_IMAGES else QUIET
        axes.plot([x, x], [interval.low, interval.high], color=colour, alpha=0.35, linewidth=4)
        axes.plot([x], [y], "o", color=colour, markersize=5)
    axes.set(title="Reliability", xlabel="Confidence", ylabel="Accuracy", xlim=(0, 1.01), ylim=(-0.02, 1.04))
    _percent(axes.xaxis)
    _percent(axes.yaxis)


def _confidences(evidence: Evidence, axes: Any) -> None:
    axes.hist(evidence.probabilities.max(axis=1), bins=BINS, range=(0, 1), color=ACCENT, rwidth=0.9)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(title="Confidence", xlabel="Confidence", ylabel="Test images", xlim=(0, 1.01), ylim=(0, None))
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
    _percent(axes.xaxis)


def _roc(curves: tuple[Curves, ...], axes: Any) -> None:
    for each, style in _highlighted(curves, [each.auroc for each in curves]):
        axes.plot(np.maximum(each.false_positive_rate, 1e-5), each.true_positive_rate, **style)
    known = [each for each in curves if len(each.recall)]
    # A test set shows no smaller rate than one false positive.
    first = min(float(each.false_positive_rate[each.false_positive_rate > 0].min()) for each in known)
    lowest = [each.true_positive_rate[each.false_positive_rate <= first].max() for each in known]
    gap = min(1.0, 1.25 * (1 - min([*lowest, 0.999])))
    axes.set(title="ROC, one digit against the rest", xscale="log", xlim=(min(first, 0.1), 1))
    axes.set(xlabel="False positive rate", ylabel="True positive rate", ylim=(1 - gap, 1 + gap * 0.03))
    axes.legend(loc="lower right")
    _percent(axes.xaxis)
    _percent(axes.yaxis)


def _precision_recall(curves: tuple[Curves, ...], axes: Any) -> None:
    for each, style in _highlighted(curves, [each.average_precision for each in curves]):
        axes.plot(each.recall, each.precision, **style)
    # Each curve leaves the top where recall and precision are about equal; show three times as far.
    even = [np.minimum(each.recall, each.precision).max() for each in curves if len(each.recall)]
    low = max(0.0, 1 - 3 * (1 - min([*even, 0.999])))
    limits = (low, 1 + (1 - low) * 0.03)
    axes.set(title="Precision and recall", xlabel="Recall", ylabel="Precision", xlim=limits, ylim=limits)
    axes.legend(loc="lower left")
    _percent(axes.xaxis)
    _percent(axes.yaxis)


def _highlighted(curves: tuple[Curves, ...], areas: list[float]) -> list[tuple[Curves, dict[str, Any]]]:
    """Pair the curves with line styles, the three of least area last, in colour and named."""
    order = [int(i) for i in np.argsort(np.nan_to_num(areas, nan=2.0))]
    quiet = [(curves[i], {"color": QUIET, "linewidth": 1.0, "alpha": 0.8}) for i in reversed(order[3:])]
    named = [
        (curves[i], {"color": colour, "label": f"{curves[i].digit}, area {areas[i]:.5f}"})
        for i, colour in zip(order, (SECOND, ACCENT, THIRD), strict=False)
    ]
    return quiet + named
