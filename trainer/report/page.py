"""report.html: one file without any other, for people."""

import base64
import io
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.values import SIDE
from trainer.evaluation.corruption import corrupt
from trainer.evaluation.curves import Curves
from trainer.evaluation.interval import Interval, wilson
from trainer.evaluation.latency import machine
from trainer.evaluation.robustness import Resistance
from trainer.evaluation.unfamiliar import CONFIDENT
from trainer.report.evidence import Evidence
from trainer.report.style import Drawing

_MISTAKES_SHOWN = 40
_CONFUSIONS_SHOWN = 6
_ROBUSTNESS_EXAMPLE_DIGIT = 3


@dataclass(frozen=True)
class _Mistake:
    """A test image taken for another digit."""

    index: int
    digit: int
    predicted: int
    confidence: float
    of_truth: float
    picture: str


@dataclass(frozen=True)
class _DigitRow:
    """A line of the table of digits."""

    digit: int
    images: int
    precision: float
    precision_interval: Interval
    recall: float
    recall_interval: Interval
    f1: float
    curves: Curves


@dataclass(frozen=True)
class _RobustnessCell:
    """Accuracy under one level, with the same digit to see what it does; `heat` is 0-1, 1 the worst."""

    resistance: Resistance
    heat: float
    picture: str


def report_page(evidence: Evidence, drawings: Mapping[str, Drawing]) -> str:
    """Return the page; `drawings` are shown by their names."""
    return render(
        "report.html.j2",
        evidence,
        drawings={name: drawing.svg() for name, drawing in drawings.items()},
        mistakes=_mistakes(evidence),
        robustness=_robustness_rows(evidence),
        unfamiliar=[(kind, picture(kind.example)) for kind in evidence.unfamiliar],
        machine=machine(),
    )


def model_card(evidence: Evidence) -> str:
    """Return MODEL_CARD.md."""
    return render("model_card.md.j2", evidence, machine=machine())


def render(template: str, evidence: Evidence, **more: Any) -> str:
    """Fill a template with the evidence and what follows from it directly."""
    from jinja2 import Environment, PackageLoader, StrictUndefined  # noqa: PLC0415  # only reports need it

    environment = Environment(  # the model card is Markdown, where escapes would show  # nosec B701
        loader=PackageLoader("trainer.report"),
        autoescape=template.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"percent": percent, "bytes": size, "duration": duration}
    evaluation = evidence.evaluation
    return environment.get_template(template).render(
        e=evidence,
        manifest=evidence.record.manifest,
        accuracy_interval=wilson(evaluation.images - evaluation.errors, evaluation.images),
        digits=_digit_rows(evidence),
        confusions=_confusions(evaluation.confusion),
        confident=CONFIDENT,
        **more,
    )


def percent(share: float, decimals: int = 2) -> str:
    """Return a share as people write it."""
    return f"{share * 100:.{decimals}f} %"


def size(count: float) -> str:
    """Return a number of bytes as people write it."""
    for unit in ("bytes", "KB"):
        if count < 1000:  # noqa: PLR2004
            return f"{count:.3g} {unit}"
        count /= 1000
    return f"{count:.3g} MB"


def duration(seconds: float) -> str:
    """Return a time as people write it."""
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1, 1e3, "ms"), (120, 1, "s"), (7200, 1 / 60, "minutes")):
        if seconds < limit:
            return f"{seconds * factor:.3g} {unit}"
    return f"{seconds / 3600:.3g} hours"


def picture(image: NDArray[np.uint8]) -> str:
    """Return an image [784] as the address of a PNG inside a page."""
    from PIL import Image  # noqa: PLC0415  # only reports need it

    content = io.BytesIO()
    Image.fromarray(image.reshape(SIDE, SIDE)).save(content, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(content.getvalue()).decode("ascii")


def _digit_rows(evidence: Evidence) -> list[_DigitRow]:
    evaluation = evidence.evaluation
    own, taken = evaluation.confusion.sum(axis=1), evaluation.confusion.sum(axis=0)
    return [
        _DigitRow(
            digit=digit,
            images=int(own[digit]),
            precision=float(evaluation.precision[digit]),
            precision_interval=wilson(int(evaluation.confusion[digit, digit]), int(taken[digit])),
            recall=float(evaluation.recall[digit]),
            recall_interval=wilson(int(evaluation.confusion[digit, digit]), int(own[digit])),
            f1=float(evaluation.f1[digit]),
            curves=evidence.curves[digit],
        )
        for digit in range(10)
    ]


def _confusions(confusion: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return (true digit, predicted digit, images) of the most frequent confusions."""
    wrong = confusion - np.diag(confusion.diagonal())
    order = np.argsort(-wrong, axis=None, kind="stable")[:_CONFUSIONS_SHOWN]
    pairs = [(int(i) // 10, int(i) % 10) for i in order]
    return [
        (true, predicted, int(wrong[true, predicted])) for true, predicted in pairs if wrong[true, predicted]
    ]


def _mistakes(evidence: Evidence) -> list[_Mistake]:
    """Return the mistakes made with the most confidence, the surest first."""
    predicted, digits = evidence.predicted, evidence.y_test
    confidence = evidence.probabilities.max(axis=1)
    wrong = np.flatnonzero(predicted != digits)
    worst = wrong[np.argsort(-confidence[wrong], kind="stable")][:_MISTAKES_SHOWN]
    return [
        _Mistake(
            index=int(i),
            digit=int(digits[i]),
            predicted=int(predicted[i]),
            confidence=float(confidence[i]),
            of_truth=float(evidence.probabilities[i, digits[i]]),
            picture=picture(evidence.x_test[i]),
        )
        for i in worst
    ]


def _robustness_rows(evidence: Evidence) -> list[tuple[str, list[_RobustnessCell]]]:
    """Return a row a corruption, a cell a level."""
    examples = np.flatnonzero(evidence.y_test == _ROBUSTNESS_EXAMPLE_DIGIT)
    example = evidence.x_test[examples[:1] if len(examples) else [0]]
    rows: dict[str, list[_RobustnessCell]] = {}
    for each in evidence.robustness.resistances:
        loss = evidence.robustness.clean_accuracy - each.accuracy
        # The root keeps small losses visible beside large ones.
        heat = float(np.sqrt(np.clip(loss, 0, 1)))
        shown = picture(corrupt(example, each.level, seed=1)[0])
        rows.setdefault(each.corruption.title, []).append(_RobustnessCell(each, heat, shown))
    return list(rows.items())
