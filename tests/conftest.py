"""Fixtures of all tests."""

import base64
import fcntl
import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from trainer.run import Run

REQUIRE_ALL = bool(os.environ.get("DIGITS_REQUIRE_ALL"))

# A background job of a shell ignores SIGINT, and programs started by tests would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Fail tests that cannot run here, if all tests are required."""
    return _require((yield))


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Likewise for a whole file."""
    return _require((yield))


Report = TypeVar("Report", pytest.TestReport, pytest.CollectReport)


def _require(report: Report) -> Report:
    if REQUIRE_ALL and isinstance(report.longrepr, tuple):
        path, line, reason = report.longrepr
        if "NOT RUN" in reason:
            report.outcome, report.longrepr = "failed", f"{path}:{line}: {reason}"
    return report


@pytest.fixture(scope="session")
def mnist_dir() -> Path:
    """The folder with all of MNIST as IDX files."""
    folder = os.environ.get("DIGITS_DATA_DIR")
    if not folder:
        pytest.skip("NOT RUN: all of MNIST is needed; set DIGITS_DATA_DIR to a folder with its IDX files")
    return Path(folder).resolve()


@dataclass(frozen=True)
class Trained:
    """A run of `digits`, one epoch on the sample, and a repository with it as version 1; read-only."""

    run: Run
    repository: Path
    output: str

    @property
    def version(self) -> Path:
        return self.repository / "digits" / "1"


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train as a user does, from the command line; once, however many processes run the tests."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if "PYTEST_XDIST_WORKER" in os.environ else base
    folder, output = shared / "trained", shared / "trained.txt"
    command = [
        Path(sys.executable).parent / "digit-trainer",
        *("train", "--recipe", "digits", "--data", "sample", "--epochs", "1"),
        *("--repository", folder / "repository", "--run-dir", folder / "run"),
    ]
    with (shared / "trained.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not output.exists():
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            output.write_text(done.stdout)
    return Trained(Run(folder / "run"), folder / "repository", output.read_text())


def linear_weights(seed: int) -> NDArray[np.float32]:
    """Random weights (784, 10) that make the probabilities of random images differ well."""
    return np.random.default_rng(seed).normal(0, 0.002, (784, 10)).astype(np.float32)


def linear_graph(seed: int = 1, *, detours: int = 0) -> bytes:
    """An ONNX graph with the right tensors and no training: softmax(images @ random weights).

    Each of the `detours` is a multiplication with the identity (784, 784), which takes its time and changes
    nothing.
    """
    graph = helper.make_graph(
        [
            helper.make_node("Cast", ["images"], ["pixels0"], to=TensorProto.FLOAT),
            *(
                helper.make_node("MatMul", [f"pixels{number}", "identity"], [f"pixels{number + 1}"])
                for number in range(detours)
            ),
            helper.make_node("MatMul", [f"pixels{detours}", "weights"], ["logits"]),
            helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        ],
        "linear",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 784])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        [
            numpy_helper.from_array(linear_weights(seed), "weights"),
            *([numpy_helper.from_array(np.eye(784, dtype=np.float32), "identity")] * bool(detours)),
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    content: bytes = model.SerializeToString()
    return content


def linear_answers(seed: int, images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """The same in numpy: probabilities (n, 10) of images (n, 784)."""
    logits = images.astype(np.float32) @ linear_weights(seed)
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities: NDArray[np.float32] = odds / odds.sum(axis=1, keepdims=True)
    return probabilities


Publish = Callable[..., Path]


@pytest.fixture(scope="session")
def publish() -> Publish:
    """Write a version folder that verifies, or what `changes` makes of it; `integers` is an 8-bit graph."""

    def write(
        repository: Path,
        model: str = "digits",
        version: int = 1,
        graph: bytes | None = None,
        integers: bytes | None = None,
        **changes: Any,
    ) -> Path:
        graph = graph if graph is not None else linear_graph(version)
        images = np.random.default_rng(1).integers(0, 256, (4, 784), np.uint8)
        probabilities = linear_answers(version, images)
        folder = repository / model / str(version)
        folder.mkdir(parents=True)
        (folder / "model.onnx").write_bytes(graph)
        manifest: dict[str, Any] = {
            "schema": 1,
            "model": model,
            "version": version,
            "created": "2026-01-02T03:04:05Z",
            "recipe": "linear",
            "metrics": {"test_accuracy": 0.5, "test_images": 4},
            "files": {"model.onnx": {"sha256": hashlib.sha256(graph).hexdigest(), "bytes": len(graph)}},
            "golden": {
                "images": base64.b64encode(images.tobytes()).decode(),
                "digits": probabilities.argmax(axis=1).tolist(),
                "probabilities": probabilities.tolist(),
                "tolerance": 1e-3,
            },
        }
        if integers is not None:
            name = "model.int8.onnx"
            (folder / name).write_bytes(integers)
            manifest["files"][name] = {
                "sha256": hashlib.sha256(integers).hexdigest(),
                "bytes": len(integers),
            }
            manifest["int8"] = {"file": name, "test_accuracy": 0.49, "golden": manifest["golden"]}
        (folder / "manifest.json").write_text(json.dumps(manifest | changes))
        return folder

    return write
