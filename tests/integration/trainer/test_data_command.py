from pathlib import Path

import pytest

from trainer.cli import main
from trainer.data.sample import load_sample
from trainer.data.source import load_data


def test_describe_counts_and_draws(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "describe", "sample", "--picture", str(tmp_path / "sheet.png")]) == 0
    said = capsys.readouterr().out
    assert "images                      4,000            1,000" in said
    assert "█" in said
    assert (tmp_path / "sheet.png").read_bytes().startswith(b"\x89PNG")


def test_convert_to_the_tutorials_tables_and_back(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["data", "convert", "sample", str(tmp_path / "t"), "--to", "tsv"]) == 0
    names = [Path(line).name for line in capsys.readouterr().out.splitlines()]
    assert names == ["X_train.tsv", "y_train.tsv", "X_test.tsv", "y_test.tsv"]
    assert len((tmp_path / "t/X_test.tsv").read_text().splitlines()[0].split("\t")) == 784
    assert main(["data", "convert", str(tmp_path / "t"), str(tmp_path / "i"), "--to", "idx-gz"]) == 0
    assert load_data(str(tmp_path / "i")).sha256 == load_sample().sha256


@pytest.fixture
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["describe", "nowhere"], 1, "nowhere: no such file or folder, expected sample, mnist,"),
        (["convert", "sample", "out", "--to", "parquet"], 2, "parquet"),
        (["convert", "sample", "out", "--to", "idx", "--header"], 1, "expected tsv or csv"),
        (["describe"], 2, "SOURCE"),
    ],
)
def test_mistake_is_one_line_on_stderr(
    words: list[str], code: int, message: str, empty_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["data", *words]) == code
    error = capsys.readouterr().err
    assert error.startswith("digit-trainer: ")
    assert message in error
    assert error.count("\n") == 1
    assert not list(empty_folder.iterdir())
