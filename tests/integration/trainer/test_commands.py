import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from trainer.manifest import DataFacts, Manifest, choose_golden, manifest_table
from trainer.observer import Epoch
from trainer.tensorboard import TensorBoard

from trainer.backend import tf
from trainer.cli import main
from trainer.evaluation.mistakes import write_mistakes
from trainer.run import Run


def finished(folder: Path, wrong: int) -> str:
    """A finished run that takes the first `wrong` of 1,000 test images for another digit."""
    run = Run(folder)
    run.report.mkdir(parents=True)
    run.model.write_bytes(b"graph")
    truth = np.zeros(1000, dtype=np.int64)
    predicted = np.where(np.arange(1000) < wrong, 1, 0)
    write_mistakes(run.report / "mistakes.tsv", truth, predicted)
    golden = choose_golden(np.zeros((10, 784), np.uint8), np.arange(10), np.eye(10, dtype=np.float32))
    data = DataFacts("sample", "0" * 64, 3600, 400, 1000)
    manifest = Manifest("digits", 1, 30_634, data, {}, None, 1 - wrong / 1000, golden)
    run.finish(manifest_table(manifest, folder), "fingerprint")
    return str(folder)


def test_canary_is_promoted_and_rolled_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = str(tmp_path / "r")
    for wrong, label in ((10, "stable"), (8, "canary")):
        run = finished(tmp_path / label, wrong)
        assert main(["publish", run, "--repository", repository, "--label", label]) == 0
    labels = tmp_path / "r" / "digits" / "labels.json"
    assert (
        main(
            ["promote", "--repository", repository, "--label", "canary", "--version", "2", "--share", "0.25"]
        )
        == 0
    )
    assert json.loads(labels.read_text())["canary"] == {"version": 2, "share": 0.25}
    assert main(["promote", "--repository", repository, "--label", "canary", "--version", "1"]) == 0
    assert main(["promote", "--repository", repository, "--label", "canary", "--version", "2"]) == 0
    assert main(["promote", "--repository", repository]) == 0
    assert json.loads(labels.read_text()) == {"canary": 2, "stable": 2}
    assert main(["rollback", "--repository", repository]) == 0
    assert json.loads(labels.read_text()) == {"canary": 2, "stable": 1}
    assert "stable  digits 1 (was 2)" in capsys.readouterr().out


def test_gate_that_refuses_exits_3_and_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = str(tmp_path / "r")
    good, bad = finished(tmp_path / "good", 10), finished(tmp_path / "bad", 40)
    assert main(["publish", good, "--repository", repository, "--label", "stable"]) == 0
    assert main(["publish", bad, "--repository", repository, "--min-accuracy", "0.97"]) == 3
    assert main(["publish", bad, "--repository", repository, "--no-worse-than-stable"]) == 3
    low, worse = capsys.readouterr().err.splitlines()
    assert low == "digit-trainer: test accuracy 96.00%, expected at least 97.00%"
    assert worse.startswith("digit-trainer: significantly worse than version 1: 30 test images")
    assert not (tmp_path / "r" / "digits" / "2").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["publish", "{run}", "--repository", "{tmp}/r", "--model", "../up"], 1, "model name '../up'"),
        (["publish", "{run}", "--repository", "{tmp}/r", "--min-accuracy", "99"], 2, "Must be <= 1"),
        (
            ["publish", "{run}", "--repository", "{tmp}/r", "--share", "0.1"],
            2,
            "--share: given without --label",
        ),
        (["publish", "{tmp}", "--repository", "{tmp}/r"], 1, "expected a finished run"),
        (["promote", "--repository", "{tmp}/r"], 1, "no such model"),
        (["rollback", "--repository", "{tmp}/r"], 1, "no such model"),
        (["explain", "nonesuch"], 2, "no such recipe or file"),
        (["explain", "digits", "--config-json", "{tmp}/no.json"], 2, "No such file"),
        (["quantize", "{tmp}"], 1, "expected a finished run"),
    ],
)
def test_mistake_is_one_line(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = finished(tmp_path / "run", 10)
    assert main([word.format(tmp=tmp_path, run=run) for word in words]) == code
    error = capsys.readouterr().err
    assert error.startswith("digit-trainer: ")
    assert message in error
    assert error.count("\n") == 1


def test_recipes_are_listed_and_explained(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()] == [
        *("accurate", "digits", "fast", "tutorial")
    ]
    assert main(["explain", "tutorial"]) == 0
    assert "28x28x64" in capsys.readouterr().out


def test_architecture_goes_out_and_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fast.json"
    assert main(["explain", "fast", "--to-json", str(path)]) == 0
    assert main(["explain", "tutorial", "--config-json", str(path)]) == 0
    assert capsys.readouterr().out.count("33,802") == 2


def test_tensorboard_gets_every_figure(tmp_path: Path) -> None:
    board = TensorBoard(tmp_path)
    board.epoch(Epoch(1, 2, 0.5, 0.9, 0.4, 0.95, 1e-3, 2.0))
    board.epoch(Epoch(2, 2, 0.4, 0.9, 0.3, 0.96, 1e-3, 2.0))
    (events,) = tmp_path.iterdir()
    read = [
        (value.tag, event.step)
        for event in tf.compat.v1.train.summary_iterator(str(events))
        for value in event.summary.value
    ]
    assert len(read) == 10
    assert ("validation_accuracy", 2) in read


def test_reader_that_has_seen_enough_is_no_error() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    code = "import sys; from trainer.cli import main; sys.exit(main(sys.argv[1:]))"
    command = [sys.executable, "-c", code, "recipes"]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(("command", "label"), [("promote", "canary"), ("rollback", "stable")])
def test_model_or_label_that_is_not_there_is_named(
    command: str, label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "digits").mkdir()
    assert main([command, "--repository", str(tmp_path), "--model", "digit"]) == 1
    assert f"{tmp_path}/digit: no such model, models there are: digits" in capsys.readouterr().err
    assert not (tmp_path / "digit").exists()
    assert main([command, "--repository", str(tmp_path)]) == 1
    assert f"no label {label}" in capsys.readouterr().err
