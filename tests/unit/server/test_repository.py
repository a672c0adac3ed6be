"""What counts as a model and a version on disk."""

from pathlib import Path

import pytest

from server.errors import StartError
from server.repository import models


def test_versions_are_listed_newest_first_by_number(tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        (tmp_path / "digits" / name).mkdir(parents=True)
    assert models(tmp_path) == {"digits": [10, 2, 1]}


@pytest.mark.parametrize("name", ["0", "01", "-1", "v1", "1.5", ".tmp-3", "²", "1 "])
def test_folder_that_is_not_named_by_a_positive_integer_is_no_version(tmp_path: Path, name: str) -> None:
    (tmp_path / "digits" / name).mkdir(parents=True)
    assert models(tmp_path) == {}


def test_files_and_hidden_folders_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "2").write_text("a file")
    (tmp_path / "README").write_text("a file")
    (tmp_path / ".unfinished" / "1").mkdir(parents=True)
    assert models(tmp_path) == {"digits": [1]}


def test_missing_repository_is_named(tmp_path: Path) -> None:
    with pytest.raises(
        StartError, match=r"model repository .*/nowhere cannot be read: No such file or directory"
    ):
        models(tmp_path / "nowhere")
