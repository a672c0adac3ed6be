"""predict, evaluate, report, compare and quantize on a run that was trained for one epoch."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from server.machine import has_int8_instructions
from tests.conftest import Trained
from tests.runs import make_run
from trainer.cli import main
from trainer.data.dataset import load_data


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sample as the tutorial's four tables."""
    folder, sample = tmp_path_factory.mktemp("tables"), load_data("sample")
    for name in ("x_train", "y_train", "x_test", "y_test"):
        np.savetxt(folder / f"{name.replace('x', 'X')}.tsv", getattr(sample, name), "%d", "\t")
    return folder


@pytest.fixture(scope="module")
def run(trained: Trained) -> Path:
    return trained.run.folder


@pytest.mark.parametrize("model", ["model.onnx", "model.keras"])
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
    digits = (run / "report/predictions.tsv").read_text().split()[1:]
    assert probabilities.argmax(axis=1).astype(str).tolist() == digits


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
    assert f"accuracy  {metrics['test_accuracy']:.2%}, {metrics['test_errors_images']} misclassified" in said
    assert f"9 100 {metrics['digit_9_precision']:.4f}" in " ".join(said.split())


@pytest.mark.slow
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


def test_compare_distinguishes_a_better_model_from_chance(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, equal = make_run(tmp_path / "a", wrong=30), make_run(tmp_path / "b", wrong=30)
    assert main(["compare", str(first.folder), str(equal.folder)]) == 0
    assert "p = 1; no significant difference" in capsys.readouterr().out
    better = make_run(tmp_path / "c", wrong=10)
    assert main(["compare", str(first.folder), str(better.folder)]) == 0
    said = capsys.readouterr().out
    assert "the second is better" in said
    assert "first wrong 20 10" in " ".join(said.split())


def test_compare_refuses_models_tested_on_different_images(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first, other = make_run(tmp_path / "a"), make_run(tmp_path / "b", test_sha256="1" * 64)
    assert main(["compare", str(first.folder), str(other.folder)]) == 1
    assert "tested on sample (111111111111...), expected the test images of" in capsys.readouterr().err


@pytest.mark.parametrize(("speedup", "kept"), [(2.0, True), (1.1, False)])
def test_8_bit_graph_is_kept_when_it_pays(  # noqa: PLR0913, PLR0917  # fixtures and parameters
    speedup: float,
    kept: bool,
    run: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    if kept and not has_int8_instructions():
        pytest.skip("OPTIONAL: this CPU adds 8-bit products in 16 bits, which may give other digits")
    monkeypatch.setattr("trainer.export.predictor.speed_ratio", lambda *_: speedup)
    copy = tmp_path / "copy"
    shutil.copytree(run, copy)
    assert main(["quantize", str(copy)]) == 0
    assert "200 images are few: one is more than 0.05% of them" in capsys.readouterr().out
    manifest = json.loads((copy / "manifest.json").read_text())
    assert (copy / "model.int8.onnx").exists() == ("int8" in manifest) == kept
    if kept:
        assert manifest["int8"]["file"] == "model.int8.onnx"
        assert manifest["int8"]["same_digits"] > 0.99
        assert len(manifest["int8"]["golden"]["digits"]) == len(manifest["golden"]["digits"])


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
    assert "X.tsv: row 2, column 784 is 300, expected a pixel, 0-255" in capsys.readouterr().err


def test_predict_that_cannot_write_says_so(
    run: Path, tables: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for output, reason in (
        (tmp_path / "no/p.tsv", "No such file or directory"),
        (Path("/dev/full"), "No space left"),
    ):
        assert main(["predict", str(run), str(tables / "X_test.tsv"), "-o", str(output)]) == 1
        assert f"{output}: cannot write predictions: {reason}" in capsys.readouterr().err
