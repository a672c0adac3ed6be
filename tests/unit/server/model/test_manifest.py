"""Manifests and files of a version that are refused before the graph is loaded."""

import os
from pathlib import Path
from typing import Any

import pytest

from server.model.manifest import VersionFiles
from tests.conftest import Publish
from tests.unit.server.model.refused import refusal


def read(folder: Path) -> VersionFiles:
    return VersionFiles.read(folder, folder.parent.parent)


def test_folder_copied_under_another_name_is_refused(tmp_path: Path, publish: Publish) -> None:
    folder = publish(tmp_path, version=1)
    assert (
        refusal(read, folder.rename(folder.parent / "2")) == "manifest.json is of digits/1, expected digits/2"
    )


def test_file_outside_the_version_is_not_read(tmp_path: Path, publish: Publish) -> None:
    (tmp_path / "secret").write_text("secret")
    folder = publish(
        tmp_path, files={"../../secret": {"sha256": "", "bytes": 6}, "model.onnx": {"sha256": "", "bytes": 0}}
    )
    assert (
        refusal(read, folder) == "manifest.json lists '../../secret', which is outside the version's folder"
    )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": 2}, "manifest.json has schema 2, expected 1"),
        ({"recipe": 7}, "manifest.json at recipe: Expected str, got int, is 7"),
        ({"files": {}}, "manifest.json lists no model.onnx"),
        ({"files": []}, "manifest.json at files: Expected object, got array"),
        (
            {"files": {"a": {"sha256": "", "bytes": -1}}},
            "manifest.json at files[...].bytes: Expected int >= 0",
        ),
        ({"int8": {"test_accuracy": 0.5}}, "manifest.json at int8: Object missing required field file"),
        ({"metrics": {}}, "manifest.json at metrics: Object missing required field test_accuracy"),
        (
            {"metrics": {"test_accuracy": "0.99"}},
            'manifest.json at metrics.test_accuracy: Expected float, got str, is "0.99"',
        ),
        (
            {"golden": {"images": "", "digits": [], "probabilities": [], "tolerance": 0.1}},
            (
                "manifest.json at golden: 0 images, 0 digits and 0 rows of probabilities, "
                "expected as many of each, at least 1"
            ),
        ),
        (
            {"golden": {"images": "AAAA", "digits": [1], "probabilities": [[0.1] * 10], "tolerance": 0.1}},
            "manifest.json at golden: expected images of 784 bytes and rows of 10 probabilities",
        ),
    ],
)
def test_manifest_that_lacks_a_promise_is_refused(
    tmp_path: Path, publish: Publish, change: dict[str, Any], message: str
) -> None:
    assert refusal(read, publish(tmp_path, **change)) == message


def test_unknown_keys_of_a_manifest_are_tolerated(tmp_path: Path, publish: Publish) -> None:
    assert (
        read(publish(tmp_path, colour="red", metrics={"test_accuracy": 0.5, "colour": 1})).manifest.version
        == 1
    )


@pytest.mark.parametrize("content", ['{"schema": 1,', "[" * 100_000, '{"a":' * 100_000, "\xff"])
def test_manifest_that_is_not_json_is_refused(tmp_path: Path, publish: Publish, content: str) -> None:
    folder = publish(tmp_path)
    (folder / "manifest.json").write_bytes(content.encode("latin-1"))
    assert refusal(read, folder).startswith("manifest.json is not JSON: ")


def test_manifest_of_seventeen_megabytes_is_refused_unread(tmp_path: Path, publish: Publish) -> None:
    folder = publish(tmp_path)
    os.truncate(folder / "manifest.json", 17 * 1024 * 1024)
    assert refusal(read, folder) == "manifest.json has 17825792 bytes, expected at most 16777216"


@pytest.mark.parametrize("name", ["manifest.json", "model.onnx"])
def test_pipe_in_place_of_a_file_is_refused_unread(tmp_path: Path, publish: Publish, name: str) -> None:
    folder = publish(tmp_path, files={"model.onnx": {"sha256": "", "bytes": 0}})
    (folder / name).unlink()
    os.mkfifo(folder / name)
    assert refusal(read, folder) == f"{name} is not a regular file"


def test_folder_without_a_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "digits" / "1").mkdir(parents=True)
    assert refusal(read, tmp_path / "digits" / "1") == (
        "manifest.json cannot be read: No such file or directory; "
        "`digit-trainer import` publishes an ONNX file that has none"
    )
