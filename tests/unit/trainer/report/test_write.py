import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from trainer.data.dataset import Dataset
from trainer.errors import TrainerError
from trainer.prediction import load_model
from trainer.report.record import load_run_data, read_record, write_data_source
from trainer.report.tables import predictions_table, probabilities_table, read_predictions
from trainer.report.write import NOT_PUBLISHED, write_report
from trainer.run import Run


def test_report_holds_every_form_of_the_evidence(run: Run, manifest: dict[str, Any], sample: Dataset) -> None:
    write_report(run, manifest, sample)
    there = {path.name: path.stat().st_size for path in run.report.iterdir()}
    pictures = {
        "confusion_matrix",
        "learning_curves",
        "digit_scores",
        "reliability",
        "roc",
        "precision_recall",
    }
    assert set(there) == {f"{name}.png" for name in pictures} | {
        "metrics.json",
        "report.html",
        "MODEL_CARD.md",
        "predictions.tsv",
        "probabilities.tsv",
        "mistakes.tsv",
    }
    assert sum(size for name, size in there.items() if name not in NOT_PUBLISHED) < 600_000


def test_tables_are_the_tutorials(run: Run, sample: Dataset, tmp_path: Path) -> None:
    answers = load_model(run.model)(sample.x_test)
    digits = predictions_table(answers).splitlines()
    assert digits[0] == "Predicted"
    assert [int(digit) for digit in digits[1:]] == answers.argmax(axis=1).tolist()
    header, *rows = probabilities_table(answers).splitlines()
    assert header == "0\t1\t2\t3\t4\t5\t6\t7\t8\t9"
    np.testing.assert_allclose([[float(p) for p in row.split("\t")] for row in rows], answers, rtol=1e-6)
    (tmp_path / "p.tsv").write_text(predictions_table(answers))
    np.testing.assert_array_equal(read_predictions(tmp_path / "p.tsv"), answers.argmax(axis=1))


def test_data_that_changed_since_is_refused(run: Run, manifest: dict[str, Any], sample: Dataset) -> None:
    other = manifest | {"data": manifest["data"] | {"sha256": "0" * 64}}
    with pytest.raises(TrainerError, match=r"--data sample: sha256 .* expected 000000000000"):
        load_run_data(run, other)
    assert load_run_data(run, manifest).sha256 == sample.sha256


def test_data_is_found_again_from_another_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "data").mkdir()
    monkeypatch.chdir(tmp_path)
    write_data_source(Run(tmp_path), "data")
    assert (tmp_path / "data.txt").read_text() == f"{tmp_path / 'data'}\n"
    write_data_source(Run(tmp_path), "mnist")
    assert (tmp_path / "data.txt").read_text() == "mnist\n"


@pytest.fixture
def copy(run: Run, tmp_path: Path) -> Run:
    """The run without its report, to be damaged."""
    shutil.copytree(run.folder, tmp_path / "run", ignore=shutil.ignore_patterns("report"))
    return Run(tmp_path / "run")


@pytest.mark.parametrize("name", ["history.csv", "recipe.toml"])
def test_file_that_a_run_lacks_is_named(name: str, copy: Run, manifest: dict[str, Any]) -> None:
    (copy.folder / name).unlink()
    with pytest.raises(TrainerError, match=rf"{name}: No such file or directory, expected a finished run"):
        read_record(copy, manifest)


def test_history_that_is_no_table_of_numbers_is_named(copy: Run, manifest: dict[str, Any]) -> None:
    copy.history.write_text("epoch,loss\n1,x\n")
    with pytest.raises(TrainerError, match=r"history\.csv: could not convert .* expected a row of numbers"):
        read_record(copy, manifest)


def test_report_that_cannot_be_written_is_named(copy: Run, manifest: dict[str, Any], sample: Dataset) -> None:
    copy.report.write_text("in the way")
    with pytest.raises(TrainerError, match=r"run/report: cannot write the report: File exists"):
        write_report(copy, manifest, sample)
