"""publish, promote, rollback, recipes: the commands of docs/model-repository.md and docs/training.md."""

import json
from pathlib import Path

import pytest

from tests.runs import make_run
from trainer.cli import app, main


def test_canary_is_promoted_and_rolled_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    repository = str(tmp_path / "r")
    for wrong, label in ((10, "stable"), (8, "canary")):
        run = make_run(tmp_path / label, wrong, model=label.encode())
        assert main(["publish", str(run.folder), "--repository", repository, "--label", label]) == 0
    labels = tmp_path / "r" / "digits" / "labels.json"
    promote = ["promote", "--repository", repository]
    assert main([*promote, "--label", "canary", "--version", "2", "--share", "0.25"]) == 0
    assert json.loads(labels.read_text())["canary"] == {"version": 2, "share": 0.25}
    assert main([*promote, "--label", "canary", "--version", "1"]) == 0
    assert main([*promote, "--label", "canary", "--version", "2"]) == 0
    assert main(promote) == 0
    assert json.loads(labels.read_text()) == {"canary": 2, "stable": 2}
    assert main(["rollback", "--repository", repository]) == 0
    assert json.loads(labels.read_text()) == {"canary": 2, "stable": 1}
    assert "stable  digits 1 (was 2)" in capsys.readouterr().out


def test_new_model_name_is_announced(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    first, second = (make_run(tmp_path / name, model=name.encode()) for name in ("a", "b"))
    words = ["--repository", str(tmp_path / "r"), "--model", "digist"]
    assert main(["publish", str(first.folder), *words]) == 0
    assert f"digist is a new model in {tmp_path}/r" in capsys.readouterr().out
    assert json.loads((tmp_path / "r/digist/1/manifest.json").read_text())["model"] == "digist"
    assert main(["publish", str(second.folder), *words]) == 0
    assert "new model" not in capsys.readouterr().out


def test_run_that_is_a_version_already_is_left_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A label that was rolled back does not move again when a job publishes the same run once more."""
    repository = str(tmp_path / "r")
    old, new = (make_run(tmp_path / name, model=name.encode()) for name in ("old", "new"))
    for run in (old, new):
        assert main(["publish", str(run.folder), "--repository", repository, "--label", "canary"]) == 0
    assert main(["rollback", "--repository", repository, "--label", "canary"]) == 0
    assert main(["publish", str(new.folder), "--repository", repository, "--label", "canary"]) == 0
    assert "holds this run already" in capsys.readouterr().out
    assert json.loads((tmp_path / "r/digits/labels.json").read_text()) == {"canary": 1}


def test_gate_that_refuses_exits_3_and_publishes_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    repository = str(tmp_path / "r")
    good, bad = (
        str(make_run(tmp_path / str(wrong), wrong, model=b"%d" % wrong).folder) for wrong in (10, 40)
    )
    gate = ["--repository", repository, "--no-worse-than-stable"]
    assert main(["publish", good, *gate, "--label", "stable"]) == 3
    assert main(["publish", good, *gate, "--label", "stable", "--allow-no-stable"]) == 0
    assert main(["publish", bad, "--repository", repository, "--min-accuracy", "0.97"]) == 3
    assert main(["publish", bad, *gate]) == 3
    nothing, low, worse = capsys.readouterr().err.splitlines()
    assert "no version is labelled stable, so there is nothing to compare with" in nothing
    assert low == "digit-trainer: test accuracy 96.00%, expected at least 97.00%"
    assert worse.startswith("digit-trainer: significantly worse than version 1: 30 test images")
    assert not (tmp_path / "r" / "digits" / "2").exists()


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["publish", "{run}", "--repository", "{tmp}/r", "--model", "../up"], 2, "model name '../up'"),
        (
            ["publish", "{run}", "--repository", "{tmp}/r", "--share", "0.1"],
            2,
            "--share: given without --label",
        ),
        (["publish", "{run}", "--repository", "{tmp}/r", "--allow-no-stable"], 2, "has no effect without"),
        (["publish", "{tmp}", "--repository", "{tmp}/r"], 1, "expected a finished run"),
        (["promote", "--repository", "{tmp}/r"], 1, "no such model"),
        (["rollback", "--repository", "{tmp}/r"], 1, "no such model"),
    ],
)
def test_mistake_is_one_line(
    words: list[str], code: int, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = make_run(tmp_path / "run").folder
    assert main([word.format(tmp=tmp_path, run=run) for word in words]) == code
    error = capsys.readouterr().err
    assert error.startswith("digit-trainer: ")
    assert message in error
    assert error.count("\n") == 1


@pytest.mark.parametrize(("command", "label"), [("promote", "canary"), ("rollback", "stable")])
def test_model_or_label_that_does_not_exist_is_named(
    command: str, label: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "digits").mkdir()
    assert main([command, "--repository", str(tmp_path), "--model", "digit"]) == 1
    assert f"{tmp_path}/digit: no such model; available: digits" in capsys.readouterr().err
    assert not (tmp_path / "digit").exists()
    assert main([command, "--repository", str(tmp_path)]) == 1
    assert f"no label {label}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], *([name] for name in app if not name.startswith("-"))])
def test_every_help_has_two_examples(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main([*command, "--help"]) == 0
    _, _, examples = capsys.readouterr().out.partition("Examples:")
    assert examples.count("\n  digit-trainer ") == 2


def test_completion_knows_every_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    script = tmp_path / "digit-trainer.bash"
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion", "--shell", "bash", "--output", str(script)]) == 0
    capsys.readouterr()
    assert all(name in script.read_text() for name in ("train", "quantize", "rollback"))


def test_recipes_are_listed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["recipes"]) == 0
    names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
    assert names == ["accurate", "digits", "fast", "tutorial"]


def test_architecture_goes_out_and_comes_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "fast.json"
    assert main(["explain", "fast", "--to-json", str(path)]) == 0
    assert main(["explain", "tutorial", "--config-json", str(path)]) == 0
    assert capsys.readouterr().out.count("Total params: 33,802") == 2
