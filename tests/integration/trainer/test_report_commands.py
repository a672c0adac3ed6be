"""predict, evaluate, report and compare on a run that was really trained, for one epoch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.cli import main
from trainer.data.convert import convert
from trainer.data.dataset import Dataset
from trainer.data.sample import load_sample


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_sample()


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory, sample: Dataset) -> Path:
    """The sample as the tutorial's four tables."""
    folder = tmp_path_factory.mktemp("tables")
    convert(sample, folder, "tsv")
    return folder


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory, tables: Path) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "run"
    words = ["train", "--data", str(tables), "--epochs", "1", "--run-dir", str(folder)]
    assert main(words) == 0
    return folder


@pytest.mark.parametrize("model", ["model.onnx", "model.keras", "."])
def test_predict_writes_the_tutorials_table(model: str, run: Path, tables: Path, tmp_path: Path) -> None:
    output = tmp_path / "predictions.tsv"
    assert main(["predict", str(run / model), str(tables / "X_test.tsv"), "-o", str(output)]) == 0
    assert output.read_text() == (run / "report/predictions.tsv").read_text()
    header, *digits = output.read_text().splitlines()
    assert header == "Predicted"
    assert len(digits) == 1000


def test_predict_writes_ten_probabilities_a_row(run: Path, tables: Path, tmp_path: Path) -> None:
    output = tmp_path / "probabilities.tsv"
    assert main(["predict", str(run), str(tables / "X_test.tsv"), "--proba", "-o", str(output)]) == 0
    header, *rows = output.read_text().splitlines()
    assert header.split("\t") == [str(digit) for digit in range(10)]
    probabilities = np.array([[float(p) for p in row.split("\t")] for row in rows])
    assert probabilities.shape == (1000, 10)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-5)


def test_predict_writes_to_standard_output_unless_told_otherwise(
    run: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["predict", str(run), str(tables / "X_test.tsv")]) == 0
    assert capsys.readouterr().out == (run / "report/predictions.tsv").read_text()


def test_evaluate_counts_what_the_report_counts(
    run: Path, tables: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = json.loads((run / "report/metrics.json").read_text())
    for data in (str(tables), f"{tables}/X_test.tsv,{tables}/y_test.tsv", "sample"):
        assert main(["evaluate", str(run / "model.onnx"), data, "--output", "json"]) == 0
        found = json.loads(capsys.readouterr().out)
        assert found == {key: metrics[key] for key in found}
        assert found["test_accuracy"] > 0.8
    assert main(["evaluate", str(run), str(tables)]) == 0
    said = capsys.readouterr().out
    assert f"accuracy  {metrics['test_accuracy']:.2%}, {metrics['test_errors_images']} wrong" in said
    assert f"9     100     {metrics['digit_9_precision']:.4f}" in said


def test_report_is_rebuilt_from_the_run_directory_and_its_data_wherever_that_is_now(
    run: Path, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("report"))
    (copy / "data.txt").write_text("/nowhere\n")
    assert main(["report", str(copy)]) == 1
    assert "--data /nowhere: no such file or folder" in capsys.readouterr().err
    assert main(["report", str(copy), "--data", str(tables)]) == 0
    before = {path.name: path.read_bytes() for path in (run / "report").iterdir()}
    after = {path.name: path.read_bytes() for path in (copy / "report").iterdir()}
    assert set(after) == set(before)
    timed = {"metrics.json", "report.html", "MODEL_CARD.md"}
    assert {name for name in before if before[name] != after[name]} <= timed


def test_compare_tells_a_better_model_from_a_lucky_one(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    better = tmp_path / "better"
    shutil.copytree(run, better)
    assert main(["compare", str(run), str(better)]) == 0
    assert "p = 1; no proof that either is better" in capsys.readouterr().out
    path = better / "report/mistakes.tsv"
    path.write_text("\n".join(path.read_text().splitlines()[:-20]) + "\n")
    assert main(["compare", str(run), str(better)]) == 0
    said = capsys.readouterr().out
    assert "the second is better" in said
    assert "first wrong             20" in said


def test_compare_refuses_models_tested_on_different_images(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other"
    shutil.copytree(run, other)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["data"] |= {"name": "else", "sha256": "0" * 64}
    (other / "manifest.json").write_text(json.dumps(manifest))
    assert main(["compare", str(run), str(other)]) == 1
    assert "tested on else (000000000000...), expected the images of" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["predict", "no.onnx", "X.tsv"], 1, "X.tsv: No such file or directory"),
        (["predict", "no.onnx"], 2, "TABLE"),
        (["evaluate", "no.onnx", "nowhere"], 1, "nowhere: no such file or folder"),
        (["report", "nowhere"], 1, "nowhere"),
        (["compare", "nowhere", "nowhere"], 1, "nowhere"),
        (["evaluate", "no.onnx", "sample", "--output", "xml"], 2, "xml"),
    ],
)
def test_mistake_is_one_line_on_stderr(
    words: list[str], code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == code
    error = capsys.readouterr().err
    assert error.startswith("digit-trainer: ")
    assert message in error
    assert error.count("\n") == 1


def test_predict_names_the_row_that_is_no_image(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = "\t".join(["0"] * 784)
    (tmp_path / "X.tsv").write_text(f"{row}\n{row[:-1]}300\n")
    assert main(["predict", str(run), str(tmp_path / "X.tsv")]) == 1
    assert (
        "X.tsv: row 2, column 784 is 300, expected a pixel, a whole number 0-255" in capsys.readouterr().err
    )


def test_predict_that_cannot_write_says_so(
    run: Path, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, reason in (
        (tmp_path / "no/p.tsv", "No such file or directory"),
        (Path("/dev/full"), "No space left"),
    ):
        assert main(["predict", str(run), str(tables / "X_test.tsv"), "-o", str(output)]) == 1
        assert f"{output}: cannot write predictions: {reason}" in capsys.readouterr().err
