import re
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from trainer.evaluation.calibration import calibrate
from trainer.evaluation.counts import evaluate
from trainer.evaluation.curves import digit_curves
from trainer.report.confusion_matrix import plot_confusion_matrix
from trainer.report.evidence import Evidence
from trainer.report.figures import digit_scores, learning_curves, precision_recall, reliability, roc
from trainer.report.style import Drawing

Draw = Callable[[Evidence], Drawing]

DRAWINGS: dict[str, Draw] = {
    "learning_curves": lambda evidence: learning_curves(evidence.record.history),
    "digit_scores": lambda evidence: digit_scores(evidence.evaluation),
    "reliability": lambda evidence: reliability(evidence.calibration),
    "roc": lambda evidence: roc(evidence.curves),
    "precision_recall": lambda evidence: precision_recall(evidence.curves),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_drawing_is_the_same_each_time(name: str, evidence: Evidence, tmp_path: Path) -> None:
    one, other = DRAWINGS[name](evidence), DRAWINGS[name](evidence)
    assert one.name == name
    assert one.svg() == other.svg()
    (tmp_path / "other").mkdir()
    one.save_png(tmp_path)
    other.save_png(tmp_path / "other")
    assert (tmp_path / f"{name}.png").read_bytes() == (tmp_path / "other" / f"{name}.png").read_bytes()
    assert (tmp_path / f"{name}.png").stat().st_size < 80_000


@pytest.mark.parametrize("name", DRAWINGS)
def test_svg_takes_every_colour_from_the_page(name: str, evidence: Evidence) -> None:
    svg = DRAWINGS[name](evidence).svg()
    ET.fromstring(svg)  # noqa: S314  # our own text
    assert not re.findall(r"(?:fill|stroke): ?#[0-9a-f]{6}", svg)
    assert "var(--accent)" in svg


def test_drawings_on_one_page_share_no_ids(evidence: Evidence) -> None:
    ids = [re.findall(r'\bid="([^"]+)"', draw(evidence).svg()) for draw in DRAWINGS.values()]
    assert len(set().union(*ids)) == sum(len(set(each)) for each in ids)


def test_run_of_one_epoch_and_model_without_mistakes_can_be_drawn(evidence: Evidence) -> None:
    digits = np.arange(50) % 10
    probabilities = np.eye(10, dtype=np.float32)[digits]
    for drawing in (
        learning_curves(evidence.record.history[:1]),
        digit_scores(evaluate(digits, digits)),
        reliability(calibrate(digits, probabilities)),
        roc(digit_curves(digits, probabilities)),
        precision_recall(digit_curves(digits, probabilities)),
    ):
        assert drawing.svg().startswith("<svg")


def test_test_set_without_some_digits_can_be_drawn() -> None:
    digits = np.array([1, 1, 2, 2])
    probabilities = np.eye(10, dtype=np.float32)[[1, 2, 2, 2]]
    assert roc(digit_curves(digits, probabilities)).svg()
    assert precision_recall(digit_curves(digits, probabilities)).svg()
    assert digit_scores(evaluate(digits, probabilities.argmax(axis=1))).svg()


def test_confusion_matrix_has_the_tutorials_titles_counts_and_green_map(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from matplotlib.figure import Figure  # noqa: PLC0415

    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    plot_confusion_matrix(tmp_path / "c.png", evidence.evaluation.confusion)
    axes, bar = drawn[0].axes
    assert axes.get_title() == "Confusion matrix between true and predicted labels"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class labels", "True class labels")
    assert [int(text.get_text()) for text in axes.texts] == evidence.evaluation.confusion.ravel().tolist()
    assert axes.images[0].get_cmap().name == "Greens"
    assert bar.get_label() == "<colorbar>"
    red, green, blue = np.asarray(Image.open(tmp_path / "c.png").convert("RGB")).reshape(-1, 3).mean(axis=0)
    assert green > red
    assert green > blue
