import xml.etree.ElementTree as ET
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure

from trainer.report.evidence import Evidence
from trainer.report.figures import figures, save_png, svg, tutorial_confusion_matrix
from trainer.report.scores import digit_curves, score

NAMES = ["learning_curves", "confusion", "digit_scores", "roc", "precision_recall", "reliability"]


@pytest.mark.parametrize("name", NAMES)
def test_figure_is_the_same_each_time_and_every_axis_has_a_label(
    name: str, evidence: Evidence, tmp_path: Path
) -> None:
    panels = figures(evidence)[name]
    for i in range(2):
        save_png(tmp_path / f"{i}.png", panels)
    assert (tmp_path / "0.png").read_bytes() == (tmp_path / "1.png").read_bytes()
    assert (tmp_path / "0.png").stat().st_size < 100_000
    for panel in panels:
        assert svg(panel) == svg(panel)
        axes = Figure().subplots()
        panel(axes)
        assert axes.get_xlabel()
        assert axes.get_ylabel()


def test_house_confusion_matrix_is_true_by_predicted(evidence: Evidence) -> None:
    (panel,) = figures(evidence)["confusion"]
    axes = Figure().subplots()
    panel(axes)
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted", "True")
    texts = [text.get_text() for text in axes.texts]
    assert [int(text.replace("·", "0")) for text in texts] == evidence.confusion.ravel().tolist()


def test_run_of_one_epoch_and_model_without_errors_can_be_drawn(evidence: Evidence) -> None:
    probabilities = np.eye(10, dtype=np.float32)[evidence.y_test]
    perfect = replace(
        evidence,
        history=evidence.history[:1],
        probabilities=probabilities,
        metrics=evidence.metrics | score(evidence.y_test, probabilities),
        curves=digit_curves(evidence.y_test, probabilities),
    )
    for panels in figures(perfect).values():
        for panel in panels:
            ET.fromstring(svg(panel))  # noqa: S314  # our own text


def test_test_set_without_some_digits_can_be_drawn(evidence: Evidence) -> None:
    digits = np.array([1, 1, 2, 2])
    probabilities = np.eye(10, dtype=np.float32)[[1, 2, 2, 2]]
    few = replace(
        evidence,
        y_test=digits,
        probabilities=probabilities,
        metrics=evidence.metrics | score(digits, probabilities),
        curves=digit_curves(digits, probabilities),
    )
    assert all(svg(panel) for panels in figures(few).values() for panel in panels)


def test_confusion_matrix_of_the_tutorial_has_its_titles_counts_and_green_map(
    evidence: Evidence, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: list[Figure] = []
    save = Figure.savefig
    monkeypatch.setattr(Figure, "savefig", lambda self, *a, **k: (drawn.append(self), save(self, *a, **k))[1])
    tutorial_confusion_matrix(tmp_path / "c.png", evidence.confusion)
    axes, bar = drawn[0].axes
    assert axes.get_title() == "Confusion matrix between true and predicted labels"
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Predicted class labels", "True class labels")
    assert [int(text.get_text()) for text in axes.texts] == evidence.confusion.ravel().tolist()
    assert axes.images[0].get_cmap().name == "Greens"
    assert bar.get_label() == "<colorbar>"
