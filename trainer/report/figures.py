"""The drawings of the report; each function returns one finished drawing."""

from typing import Any

import numpy as np

from trainer.evaluation.calibration import BINS, Calibration
from trainer.evaluation.counts import Evaluation
from trainer.evaluation.curves import Curves
from trainer.evaluation.interval import wilson
from trainer.report.record import History
from trainer.report.style import ACCENT, INK, MUTED, QUIET, SECOND, THIRD, Drawing, drawing

_WIDE, _HIGH = 8.4, 3.3
_FEW_IMAGES = 20
"""A share of fewer images than this says little; it is drawn so."""

_HIGHLIGHTED = (SECOND, ACCENT, THIRD)


def learning_curves(history: History) -> Drawing:
    """Draw loss and error over the epochs, on training and on validation images."""
    epochs = [row["epoch"] for row in history]
    marker = "o" if len(history) == 1 else None
    with drawing("learning_curves", _WIDE, _HIGH, 2) as (result, (loss, error)):
        losses = [[row[f"{part}loss"] for row in history] for part in ("", "validation_")]
        errors = [[1 - row[f"{part}accuracy"] for row in history] for part in ("", "validation_")]
        for axes, title, (training, validation) in (
            (loss, "Loss, nats", losses),
            (error, "Wrong digits", errors),
        ):
            axes.plot(epochs, training, color=QUIET, marker=marker, label="training, images varied")
            axes.plot(epochs, validation, color=ACCENT, marker=marker, label="validation")
            axes.set_title(title)
            axes.set_xlabel("epoch")
            axes.set_yscale("log")
            axes.xaxis.get_major_locator().set_params(integer=True)
            if len(history) == 1:
                axes.set_xticks(epochs)
        _log_percent(error)
        loss.legend(labelcolor=MUTED, loc="best")
        loss.yaxis.set_major_formatter(lambda value, _: f"{value:g}")
        loss.yaxis.set_minor_formatter(lambda value, _: f"{value:g}" if f"{value:e}"[0] in "25" else "")
    return result


def digit_scores(evaluation: Evaluation) -> Drawing:
    """Draw precision and recall of each digit with 95 % intervals."""
    with drawing("digit_scores", _WIDE, _HIGH, 2) as (result, axes):
        hits = evaluation.confusion.diagonal()
        for each, title, trials in (
            (axes[0], "Recall: found among all of this digit", evaluation.confusion.sum(axis=1)),
            (axes[1], "Precision: right among all taken for it", evaluation.confusion.sum(axis=0)),
        ):
            for digit in range(10):
                interval = wilson(int(hits[digit]), int(trials[digit]))
                each.plot([digit] * 2, [interval.low, interval.high], color=ACCENT, alpha=0.35, linewidth=5)
                share = hits[digit] / trials[digit] if trials[digit] else np.nan
                each.plot([digit], [share], "o", color=ACCENT, markersize=5)
            each.axhline(evaluation.accuracy, color=QUIET, linewidth=1, linestyle=(0, (4, 3)), zorder=0)
            each.set_title(title)
            each.set_xticks(range(10))
            each.grid(visible=False, axis="x")
            each.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.1f} %")
        axes[1].sharey(axes[0])
    return result


def reliability(calibration: Calibration) -> Drawing:
    """Draw accuracy against confidence, and how often each confidence occurs."""
    with drawing("reliability", _WIDE, _HIGH, 2) as (result, (diagram, histogram)):
        filled = calibration.images > 0
        diagram.plot([0, 1], [0, 1], color=QUIET, linewidth=1, linestyle=(0, (4, 3)))
        for images, x, y in zip(
            calibration.images[filled],
            calibration.confidence[filled],
            calibration.accuracy[filled],
            strict=True,
        ):
            interval = wilson(round(images * y), int(images))
            colour = ACCENT if images >= _FEW_IMAGES else QUIET
            diagram.plot([x, x], [interval.low, interval.high], color=colour, alpha=0.35, linewidth=4)
            diagram.plot([x], [y], "o", color=colour, markersize=5)
        diagram.set_title("Right answers at each confidence")
        diagram.set_xlabel("confidence")
        diagram.set_ylim(-0.02, 1.04)
        histogram.bar(
            (np.arange(BINS) + 0.5) / BINS,
            calibration.images,
            0.9 / BINS,
            color=ACCENT,
            alpha=0.85,
            linewidth=0,
        )
        histogram.set_yscale("symlog", linthresh=1)
        histogram.set_ylim(0, None)
        histogram.set_title("Test images at each confidence")
        histogram.set_xlabel("confidence")
        histogram.grid(visible=False, axis="x")
        histogram.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        for axes in (diagram, histogram):
            axes.set_xlim(0, 1.01)
            axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
        diagram.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.0f} %")
    return result


def roc(curves: tuple[Curves, ...]) -> Drawing:
    """Draw each digit's ROC curve, the corner where all the difference is; the lowest three in colour."""
    with drawing("roc", _WIDE / 2, 3.6) as (result, (axes,)):
        for each, style in _highlighted(curves, [each.roc_auc for each in curves]):
            axes.plot(np.maximum(each.false_positive_rate, 1e-5), each.true_positive_rate, **style)
        axes.set_xscale("log")
        known = [each for each in curves if len(each.recall)]
        # Less than one other image let in is nothing a test set can show.
        first = min(float(each.false_positive_rate[each.false_positive_rate > 0].min()) for each in known)
        lowest = [each.true_positive_rate[each.false_positive_rate <= first].max() for each in known]
        axes.set_xlim(min(first, 0.1), 1)
        gap = min(1.0, 1.25 * (1 - min([*lowest, 0.999])))
        axes.set_ylim(1 - gap, 1 + gap * 0.03)
        axes.set_title("ROC, each digit against the rest")
        axes.set_xlabel("other digits let in")
        axes.set_ylabel("own digit found")
        axes.legend(loc="lower right", labelcolor=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:g} %")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.4g} %")
    return result


def precision_recall(curves: tuple[Curves, ...]) -> Drawing:
    """Draw each digit's precision against its recall; the lowest three in colour."""
    with drawing("precision_recall", _WIDE / 2, 3.6) as (result, (axes,)):
        for each, style in _highlighted(curves, [each.average_precision for each in curves]):
            axes.plot(each.recall, each.precision, **style)
        # Each curve leaves the top where recall and precision are about equal; show three times as far.
        even = [np.minimum(c.recall, c.precision).max() for c in curves if len(c.recall)]
        low = max(0.0, 1 - 3 * (1 - min([*even, 0.999])))
        axes.set_xlim(low, 1 + (1 - low) * 0.03)
        axes.set_ylim(low, 1 + (1 - low) * 0.03)
        axes.set_title("Precision and recall")
        axes.set_xlabel("recall")
        axes.set_ylabel("precision")
        axes.legend(loc="lower left", labelcolor=INK)
        axes.xaxis.set_major_formatter(lambda value, _: f"{value * 100:.4g} %")
        axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:.4g} %")
    return result


def _highlighted(curves: tuple[Curves, ...], areas: list[float]) -> list[tuple[Curves, dict[str, Any]]]:
    """Pair the curves with line styles, the three of least area last, in colour and named."""
    order = [int(i) for i in np.argsort(np.nan_to_num(areas, nan=2.0))]
    quiet = [(curves[i], {"color": QUIET, "linewidth": 1.0, "alpha": 0.8}) for i in reversed(order[3:])]
    named = [
        (curves[i], {"color": colour, "label": f"{curves[i].digit}, area {areas[i]:.5f}"})
        for i, colour in zip(order, _HIGHLIGHTED, strict=False)
    ]
    return quiet + named


def _log_percent(axes: Any) -> None:
    axes.yaxis.set_major_formatter(lambda value, _: f"{value * 100:g} %")
    axes.yaxis.set_minor_formatter(lambda value, _: f"{value * 100:g} %" if f"{value:e}"[0] in "25" else "")
