"""The report folder of a run: numbers, pictures, a page, a model card, the predictions."""

from pathlib import Path
from typing import Any

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.evaluation.mistakes import MISTAKES, write_mistakes
from trainer.report.confusion_matrix import plot_confusion_matrix
from trainer.report.evidence import Evidence, gather_evidence
from trainer.report.figures import digit_scores, learning_curves, precision_recall, reliability, roc
from trainer.report.metrics import run_metrics, write_metrics
from trainer.report.page import model_card, report_page
from trainer.report.record import read_record
from trainer.report.style import Drawing
from trainer.report.tables import predictions_table, probabilities_table
from trainer.run import Run

NOT_PUBLISHED = ("probabilities.tsv",)
"""Too large for every version to carry: a megabyte for 10,000 images, and the model gives it again."""


def write_report(run: Run, manifest: dict[str, Any], dataset: Dataset) -> Evidence:
    """Measure a run's exported graph and write everything into its report folder.

    Needs what lies in the run directory before its manifest does: recipe, history, both models. Raises
    TrainerError.
    """
    try:
        run.report.mkdir(exist_ok=True)  # tell what is wrong with it before half a minute of measuring
        evidence = gather_evidence(run, read_record(run, manifest), dataset)
        _write(run.report, evidence)
    except OSError as error:
        raise TrainerError(
            f"{error.filename or run.report}: cannot write the report: {error.strerror}"
        ) from error
    return evidence


def drawings_of(evidence: Evidence) -> dict[str, Drawing]:
    """Return every drawing of the report by its name."""
    drawings = (
        learning_curves(evidence.record.history),
        digit_scores(evidence.evaluation),
        reliability(evidence.calibration),
        roc(evidence.curves),
        precision_recall(evidence.curves),
    )
    return {drawing.name: drawing for drawing in drawings}


def _write(folder: Path, evidence: Evidence) -> None:
    write_metrics(folder / "metrics.json", run_metrics(evidence))
    write_mistakes(folder / MISTAKES, evidence.y_test, evidence.predicted)
    (folder / "predictions.tsv").write_text(predictions_table(evidence.probabilities), encoding="ascii")
    (folder / "probabilities.tsv").write_text(probabilities_table(evidence.probabilities), encoding="ascii")
    plot_confusion_matrix(folder / "confusion_matrix.png", evidence.evaluation.confusion)
    drawings = drawings_of(evidence)
    for drawing in drawings.values():
        drawing.save_png(folder)
    (folder / "report.html").write_text(report_page(evidence, drawings), encoding="utf-8")
    (folder / "MODEL_CARD.md").write_text(model_card(evidence), encoding="utf-8")
