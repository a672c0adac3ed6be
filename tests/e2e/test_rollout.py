"""The canary rollout of docs/versions.md, command by command."""

import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import onnx

from tests.conftest import Trained
from tests.process import RunningServer, running

BIN = Path(sys.executable).parent
IMAGE = bytes(784)


def shell(*command: object) -> str:
    words = [str(BIN / str(command[0])), *map(str, command[1:])]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout


def wait_for(server: RunningServer, labels: dict[str, int]) -> None:
    events = iter(lambda: server.event("versions serve"), None)
    assert next(event for event in events if event["labels"] == labels)


def models(server: RunningServer) -> dict[int, dict[str, Any]]:
    lines = shell("digit-client", "models", "--server", server.address, "--output", "json").splitlines()
    return {model["version"]: model for model in map(json.loads, lines)}


def answering(server: RunningServer) -> set[int]:
    return {server.predict(IMAGE).version for _ in range(40)}


def test_canary_is_published_widened_promoted_and_rolled_back_without_a_restart(
    trained: Trained, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(trained.repository, repository)
    there = ("--repository", repository)
    shell("digit-trainer", "promote", *there, "--version", 1)

    with running("--model-repository", repository, "--repository-poll-seconds", 0.1) as server:
        # The same network with another digest: another model with known answers.
        second = shutil.copytree(trained.run.folder, tmp_path / "second")
        graph = onnx.load(second / "model.onnx")
        graph.doc_string = "second"
        content = graph.SerializeToString()
        (second / "model.onnx").write_bytes(content)
        manifest = json.loads((second / "manifest.json").read_text())
        manifest["files"]["model.onnx"] = {
            "sha256": hashlib.sha256(content).hexdigest(),
            "bytes": len(content),
        }
        (second / "manifest.json").write_text(json.dumps(manifest))
        shell("digit-trainer", "publish", second, *there, "--label", "canary")
        wait_for(server, {"stable": 1, "canary": 2})
        assert server.predict(IMAGE, label="canary").version == 2
        assert answering(server) == {1}  # others are not affected

        shell("digit-trainer", "promote", *there, "--version", 2, "--label", "canary", "--share", 0.25)
        wait_for(server, {"stable": 1, "canary": 2})
        assert models(server)[2]["share"] == 0.25
        assert answering(server) == {1, 2}
        assert models(server)[2]["labels"] == ["canary"]
        assert models(server)[1]["share"] == 0.75

        shell("digit-trainer", "promote", *there)
        wait_for(server, {"stable": 2, "canary": 2})
        assert answering(server) == {2}

        shell("digit-trainer", "rollback", *there)
        wait_for(server, {"stable": 1, "canary": 2})
        assert server.predict(IMAGE, label="stable").version == 1
        assert shell("digit-client", "health", "digits", "--server", server.address).endswith(" is ready\n")
