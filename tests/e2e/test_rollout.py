"""The canary rollout of docs/versions.md, command by command."""

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import onnx

from tests.conftest import Trained
from tests.e2e.shell import run, serves
from tests.process import RunningServer, running

IMAGE = bytes(784)


def models(server: RunningServer) -> dict[int, dict[str, Any]]:
    lines = run("digit-client", "models", "--server", server.address, "--output", "json").splitlines()
    return {model["version"]: model for model in map(json.loads, lines)}


def answering(server: RunningServer) -> set[int]:
    return {server.predict(IMAGE).version for _ in range(40)}


def test_canary_is_published_widened_promoted_and_rolled_back_without_a_restart(
    trained: Trained, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    shutil.copytree(trained.repository, repository)
    there = ("--repository", repository)
    run("digit-trainer", "promote", *there, "--version", 1)

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
        run("digit-trainer", "publish", second, *there, "--label", "canary")
        serves(server, {"stable": 1, "canary": 2})
        assert server.predict(IMAGE, label="canary").version == 2
        assert answering(server) == {1}  # others are not affected

        run("digit-trainer", "promote", *there, "--version", 2, "--label", "canary", "--share", 0.25)
        serves(server, {"stable": 1, "canary": 2})
        assert models(server)[2]["share"] == 0.25
        assert answering(server) == {1, 2}
        assert models(server)[2]["labels"] == ["canary"]
        assert models(server)[1]["share"] == 0.75

        run("digit-trainer", "promote", *there)
        serves(server, {"stable": 2, "canary": 2})
        assert answering(server) == {2}

        run("digit-trainer", "rollback", *there)
        serves(server, {"stable": 1, "canary": 2})
        assert server.predict(IMAGE, label="stable").version == 1
        assert run("digit-client", "health", "digits", "--server", server.address).endswith(" is ready\n")
