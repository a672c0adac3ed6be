"""Figures of the report, of one or two panels: side by side in a PNG, stacked on a phone."""

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

INK, QUIET, ACCENT, SECOND, THIRD = "#1b2330", "#b8c0cc", "#2456d6", "#c2410c", "#0f766e"

_STYLE = Path(__file__).with_name("digits.mplstyle")
_WIDTH, _HEIGHT = 4.2, 3.4
_LEFT, _RIGHT, _BOTTOM, _TOP = 0.72, 0.24, 0.5, 0.38
"""Inches of a panel, and around its axes. A layout engine would find them by drawing each figure twice."""

_FEW_IMAGES = 20
"""A share of fewer images than this says little; it is drawn in grey."""

_DASHED = {"color": QUIET, "linewidth": 1, "linestyle": (0, (4, 3)), "zorder": 0}


def figures(evidence: Evidence) -> dict[str, tuple[Panel, ...]]:
    """Return the panels of each figure by name."""
    return {
        name: tuple(partial(_panel, draw, evidence, labels) for draw, labels in panels)
        for name, panels in _FIGURES.items()
        if evidence.history or name != "learning_curves"
    }


def save_png(path: Path, panels: tuple[Panel, ...]) -> None:
    """Write panels side by side as PNG, reproducibly."""
    path.write_bytes(_render(panels, format="png", metadata={"Software": None}))


def svg(panel: Panel) -> bytes:
    """Return a panel as SVG."""
    return _render((panel,), format="svg", metadata={"Date": None, "Creator": None}, transparent=True)


def tutorial_confusion_matrix(path: Path, confusion: NDArray[np.int64]) -> None:
    """Write the Galaxy tutorial's plot of counts [10, 10], with its titles and green colour map."""
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    with mpl.rc_context():
        figure = Figure(figsize=(7.5, 6.5), dpi=110)
        axes: Any = figure.subplots(gridspec_kw={"left": 0.08, "right": 1, "bottom": 0.08, "top": 0.95})
        figure.colorbar(axes.imshow(confusion, cmap="Greens"), ax=axes)
        axes.set(
            title="Confusion matrix between true and predicted labels", xticks=range(10), yticks=range(10)
        )
        axes.set(xlabel="Predicted class labels", ylabel="True class labels")
        for (row, column), count in np.ndenumerate(confusion):
            colour = "white" if count > confusion.max() / 2 else "black"
            axes.text(column, row, str(count), ha="center", va="center", color=colour, fontsize=9)
        figure.savefig(path, metadata={"Software": None})


def _render(panels: tuple[Panel, ...], **options: Any) -> bytes:
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import
    from matplotlib.figure import Figure  # noqa: PLC0415

    content = io.BytesIO()
    with mpl.rc_context(fname=_STYLE):
        width = _WIDTH * len(panels)
        figure = Figure(figsize=(width, _HEIGHT))
        for column, panel in enumerate(panels):
            box = (_WIDTH * column + _LEFT, _BOTTOM, _WIDTH - _LEFT - _RIGHT, _HEIGHT - _BOTTOM - _TOP)
            panel(figure.add_axes(tuple(np.divide(box, (width, _HEIGHT) * 2))))
        figure.savefig(content, **options)
    return content.getvalue()


def _panel(
    draw: Callable[[Evidence, Any], None], evidence: Evidence, labels: tuple[str, str, str, str], axes: Any
) -> None:
    title, xlabel, ylabel, in_percent = labels
    axes.set(title=title, xlabel=xlabel, ylabel=ylabel)
    draw(evidence, axes)
    for name in in_percent:
        getattr(axes, f"{name}axis").set_major_formatter(lambda value, _: f"{value * 100:.4g} %")


def _loss(evidence: Evidence, axes: Any) -> None:
    _course(axes, "{:g}", [(epoch.loss, epoch.val_loss) for epoch in evidence.history])
    axes.legend(loc="best")


def _error_rate(evidence: Evidence, axes: Any) -> None:
    rates = [(100 - 100 * epoch.accuracy, 100 - 100 * epoch.val_accuracy) for epoch in evidence.history]
    _course(axes, "{:g} %", rates)


def _course(axes: Any, form: str, values: list[tuple[float, float]]) -> None:
    marker = "o" if len(values) == 1 else None
    for line, colour, label in zip(
        zip(*values, strict=True), (QUIET, ACCENT), ("training, augmented", "validation"), strict=True
    ):
        axes.plot(range(1, len(values) + 1), line, color=colour, marker=marker, label=label)
    axes.set_yscale("log")
    axes.xaxis.get_major_locator().set_params(integer=True)
    for set_formatter in (axes.yaxis.set_major_formatter, axes.yaxis.set_minor_formatter):
        set_formatter(lambda value, _: form.format(value) if f"{value:e}"[0] in "125" else "")


def _confusion(evidence: Evidence, axes: Any) -> None:
    """Draw counts; the diagonal is not shaded, since it would dominate."""
    import matplotlib as mpl  # noqa: PLC0415  # half a second to import

    confusion = evidence.confusion
    wrong = confusion - np.diag(confusion.diagonal())
    shades = mpl.colors.LinearSegmentedColormap.from_list("shades", ["#ffffff00", "#f3b08f", SECOND])
    axes.imshow(wrong, cmap=shades, vmin=0, vmax=max(1, wrong.max()), aspect="auto")
    for (row, column), count in np.ndenumerate(confusion):
        bold = {"color": "white" if wrong[row, column] > 0.7 * wrong.max() else INK}
        if row == column:
            bold = {"color": ACCENT, "fontweight": "bold"}
        text = str(count) if count or row == column else "·"
        axes.text(column, row, text, ha="center", va="center", fontsize=7.5, **bold)
    axes.set(xticks=range(10), yticks=range(10))
    axes.grid(visible=False)


def _digits(which: str, evidence: Evidence, axes: Any) -> None:
    metrics = evidence.metrics
    for digit in range(10):
        share, low, high = (metrics[f"digit_{digit}_{which}{end}"] for end in ("", "_low", "_high"))
        _interval(axes, digit, share, (low, high))
    axes.axhline(metrics["test_accuracy"], **_DASHED)
    axes.set_xticks(range(10))
    axes.grid(visible=False, axis="x")


def _interval(axes: Any, x: float, y: float, interval: tuple[float, float], colour: str = ACCENT) -> None:
    axes.plot([x, x], interval, color=colour, alpha=0.35, linewidth=4.5)
    axes.plot([x], [y], "o", color=colour, markersize=5)


def _reliability(evidence: Evidence, axes: Any) -> None:
    axes.plot([0, 1], [0, 1], **_DASHED)
    for images, x, y in zip(*reliability(evidence.y_test, evidence.probabilities), strict=True):
        colour = ACCENT if images >= _FEW_IMAGES else QUIET
        _interval(axes, x, y, wilson(round(images * y), int(images)), colour)
    axes.set(xlim=(0, 1.01), ylim=(-0.02, 1.04))


def _confidences(evidence: Evidence, axes: Any) -> None:
    axes.hist(evidence.probabilities.max(axis=1), bins=BINS, range=(0, 1), color=ACCENT, rwidth=0.9)
    axes.set_yscale("symlog", linthresh=1)
    axes.set(xlim=(0, 1.01), ylim=(0, None))
    axes.grid(visible=False, axis="x")
    axes.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def _roc(evidence: Evidence, axes: Any) -> None:
    for each, style in _highlighted(evidence.curves, [each.auroc for each in evidence.curves]):
        axes.plot(np.maximum(each.false_positive_rate, 1e-5), each.true_positive_rate, **style)
    known = [each for each in evidence.curves if len(each.recall)]
    # The smallest measurable rate is one false positive.
    first = min(float(each.false_positive_rate[each.false_positive_rate > 0].min()) for each in known)
    lowest = [each.true_positive_rate[each.false_positive_rate <= first].max() for each in known]
    gap = min(1.0, 1.25 * (1 - min([*lowest, 0.999])))
    axes.set(xscale="log", xlim=(min(first, 0.1), 1), ylim=(1 - gap, 1 + gap * 0.03))
    axes.legend(loc="lower right")


def _precision_recall(evidence: Evidence, axes: Any) -> None:
    curves = evidence.curves
    for each, style in _highlighted(curves, [each.average_precision for each in curves]):
        axes.plot(each.recall, each.precision, **style)
    # Curves drop where recall and precision are about equal; show three times that distance from 1.
    even = [np.minimum(each.recall, each.precision).max() for each in curves if len(each.recall)]
    low = max(0.0, 1 - 3 * (1 - min([*even, 0.999])))
    limits = (low, 1 + (1 - low) * 0.03)
    axes.set(xlim=limits, ylim=limits)
    axes.locator_params(nbins=5)  # labels such as 98.25 % are wide
    axes.legend(loc="lower left")


def _highlighted(curves: tuple[Curves, ...], areas: list[float]) -> list[tuple[Curves, dict[str, Any]]]:
    """Return curves with line styles; the three with the least area come last, coloured and labelled."""
    order = [int(i) for i in np.argsort(np.nan_to_num(areas, nan=2.0))]
    quiet = [(curves[i], {"color": QUIET, "linewidth": 1.0, "alpha": 0.8}) for i in reversed(order[3:])]
    named = [
        (curves[i], {"color": colour, "label": f"{curves[i].digit}, area {areas[i]:.5f}"})
        for i, colour in zip(order, (SECOND, ACCENT, THIRD), strict=False)
    ]
    return quiet + named


# Panels: function, title, x label, y label, axes in percent.
_FIGURES: dict[str, tuple[tuple[Callable[[Evidence, Any], None], tuple[str, str, str, str]], ...]] = {
    "learning_curves": (
        (_loss, ("Loss", "Epoch", "Loss, nats", "")),
        (_error_rate, ("Error rate", "Epoch", "Misclassified images", "")),
    ),
    "confusion": ((_confusion, ("Confusion matrix", "Predicted", "True", "")),),
    "digit_scores": (
        (partial(_digits, "recall"), ("Recall, 95 % intervals", "Digit", "Recall", "y")),
        (partial(_digits, "precision"), ("Precision, 95 % intervals", "Digit", "Precision", "y")),
    ),
    "roc": ((_roc, ("ROC, one digit against the rest", "False positive rate", "True positive rate", "xy")),),
    "precision_recall": ((_precision_recall, ("Precision and recall", "Recall", "Precision", "xy")),),
    "reliability": (
        (_reliability, ("Reliability", "Confidence", "Accuracy", "xy")),
        (_confidences, ("Confidence", "Confidence", "Test images", "x")),
    ),
}
