"""Models and versions on disk."""

import os
from pathlib import Path

import pytest

from server.versions.repository import LAYOUT, Label, RepositoryError, fingerprint, scan


def versions(repository: Path) -> dict[str, list[int]]:
    return {name: list(model.versions) for name, model in scan(repository).items()}


def failure(repository: Path) -> str:
    with pytest.raises(RepositoryError) as caught:
        scan(repository)
    return str(caught.value)


def test_versions_are_listed_newest_first_by_number(tmp_path: Path) -> None:
    for name in ("1", "2", "10"):
        (tmp_path / "digits" / name).mkdir(parents=True)
    assert versions(tmp_path) == {"digits": [10, 2, 1]}


@pytest.mark.parametrize("name", ["0", "01", "-1", "v1", "1.5", "²", "1 ", "9" * 19])
def test_folder_that_is_not_named_by_a_positive_integer_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / "digits" / name).mkdir(parents=True)
    (tmp_path / "digits" / name / "model.onnx").touch()
    (model,) = scan(tmp_path).values()
    assert model.versions == {}
    assert model.problems == (f"folder {name!r} is not named by a positive integer",)


def test_files_unfinished_work_and_other_folders_are_ignored(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / ".tmp-2").mkdir()
    (tmp_path / "digits" / ".tmp-2" / "model.onnx").touch()
    (tmp_path / "digits" / "report").mkdir()
    (tmp_path / "digits" / "2").write_text("a file")
    (tmp_path / "README").write_text("a file")
    (tmp_path / "lost+found").mkdir()
    (tmp_path / ".unfinished" / "1").mkdir(parents=True)
    assert versions(tmp_path) == {"digits": [1]}
    assert scan(tmp_path)["digits"].problems == ()


def test_labels_are_read(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    assert scan(tmp_path)["digits"].labels == {}
    (tmp_path / "digits" / "labels.json").write_text('{"stable": 1}')
    assert scan(tmp_path)["digits"].labels == {"stable": Label(1)}


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("{", "labels.json is not JSON: "),
        ("[" * 50_000, "labels.json"),
        (" " * 70_000, "labels.json has 70000 bytes, expected at most 65536"),
    ],
)
def test_labels_that_cannot_be_used_are_a_problem_and_not_an_empty_file(
    tmp_path: Path, content: str, problem: str
) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "labels.json").write_text(content)
    model = scan(tmp_path)["digits"]
    assert model.labels is None
    assert model.problems[0].startswith(problem)


def test_labels_outside_the_repository_are_not_read(tmp_path: Path) -> None:
    (tmp_path / "repository" / "digits" / "1").mkdir(parents=True)
    (tmp_path / "outside.json").write_text('{"stable": 1}')
    (tmp_path / "repository" / "digits" / "labels.json").symlink_to(tmp_path / "outside.json")
    model = scan(tmp_path / "repository")["digits"]
    assert model.labels is None
    assert model.problems == ("labels.json is a link that leads out of the repository",)


def test_labels_that_would_never_end_are_not_opened(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    os.mkfifo(tmp_path / "digits" / "labels.json")
    assert scan(tmp_path)["digits"].problems == ("labels.json is not a regular file",)


def test_links_in_a_circle_spoil_only_what_they_name(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "digits" / "labels.json").symlink_to(tmp_path / "digits" / "labels.json")
    (tmp_path / "digits" / "2").symlink_to(tmp_path / "digits" / "2")
    (tmp_path / "letters" / "1").mkdir(parents=True)
    assert versions(tmp_path) == {"digits": [1], "letters": [1]}
    assert scan(tmp_path)["digits"].labels is None


@pytest.mark.skipif(os.geteuid() == 0, reason="OPTIONAL: root may read everything")
def test_model_that_may_not_be_read_spoils_no_other(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    (tmp_path / "letters" / "1").mkdir(parents=True)
    (tmp_path / "letters").chmod(0)
    found = scan(tmp_path)
    assert (list(found["digits"].versions), found["letters"].readable) == ([1], False)
    assert found["letters"].problems == ("its folder cannot be read: Permission denied",)
    (tmp_path / "letters").chmod(0o755)


def test_repository_that_is_a_file_or_a_circle_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert failure(tmp_path / "file") == f"model repository {tmp_path}/file is a file, {LAYOUT}"
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b").symlink_to(tmp_path / "a")
    assert "cannot be read" in failure(tmp_path / "a")


def test_empty_repository_is_one_that_is_not_there(tmp_path: Path) -> None:
    assert failure(tmp_path) == f"model repository {tmp_path} has no models, {LAYOUT}"


def test_model_behind_a_link_out_of_the_repository_is_named(tmp_path: Path) -> None:
    (tmp_path / "outside" / "1").mkdir(parents=True)
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "digits").symlink_to(tmp_path / "outside")
    model = scan(tmp_path / "repository")["digits"]
    assert (model.versions, model.readable) == ({}, False)
    assert model.problems == (f"its folder is a link to {tmp_path}/outside, which is outside the repository",)


def test_fingerprint_changes_with_any_file_and_not_otherwise(tmp_path: Path) -> None:
    (tmp_path / "report").mkdir()
    file = tmp_path / "report" / "metrics.json"
    file.write_text("1")
    first = fingerprint(tmp_path)
    assert fingerprint(tmp_path) == first
    os.utime(file, ns=(1, 1))  # another time, as a copy would have
    second = fingerprint(tmp_path)
    file.write_text("22")
    third = fingerprint(tmp_path)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    assert len({first, second, third, fingerprint(tmp_path)}) == 4
