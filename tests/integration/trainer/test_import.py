"""ONNX files as exported by Keras and PyTorch are imported and served; others are refused."""

import json
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from tests.process import running
from trainer.cli import main
from trainer.data.dataset import load_sample
from trainer.export.foreign import inspect


@cache
def weights() -> NDArray[np.float32]:
    """A linear classifier by least squares on pixels of 0-1, (785, 10), the bias last."""
    data = load_sample()
    pixels = np.c_[data.x_train / 255, np.ones(len(data.x_train))]
    targets = np.eye(10)[data.y_train] * 8 - 4
    ridge = 10 * np.eye(785)
    found: NDArray[np.float32] = np.linalg.solve(pixels.T @ pixels + ridge, pixels.T @ targets).astype(
        np.float32
    )
    return found


def save(  # noqa: PLR0913 - what exporters differ in
    path: Path,
    layout: tuple[object, ...] = ("N", 784),
    *,
    kind: int = TensorProto.FLOAT,
    scaled: Callable[[NDArray[np.float32]], NDArray[np.float32]] = lambda each: each,
    last: str = "Softmax",
    classes: int = 10,
    opset: int = 17,
    external: bool = False,
) -> Path:
    """Write a graph: Cast, Reshape, Gemm, and `last`."""
    matrix = scaled(weights())
    constants = [
        numpy_helper.from_array(np.array([-1, 784], np.int64), "images"),  # names that we use, too
        numpy_helper.from_array(matrix[:-1, :classes].copy(), "w"),
        numpy_helper.from_array(matrix[-1, :classes].copy(), "b"),
    ]
    nodes = [
        helper.make_node("Cast", ["x"], ["float"], to=TensorProto.FLOAT),
        helper.make_node("Reshape", ["float", "images"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w", "b"], ["probabilities"]),
        helper.make_node(last, ["probabilities"], ["y"]),
    ]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", kind, layout)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [layout[0], classes])],
        constants,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    where = {"location": "weights.bin", "size_threshold": 0} if external else {}
    onnx.save_model(model, path, save_as_external_data=external, **where)
    return path


def pytorch(path: Path) -> Path:
    """[N, 1, 28, 28], pixels normalized by mean and deviation, logits, weights beside it."""

    def scaled(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        rows, bias = matrix[:-1] * 0.3081, matrix[-1] + 0.1307 * matrix[:-1].sum(axis=0)
        return np.r_[rows, bias[None]].astype(np.float32)

    return save(path, ("batch", 1, 28, 28), scaled=scaled, last="Identity", external=True)


def keras(path: Path) -> Path:
    """[N, 28, 28, 1], pixels 0-1, probabilities."""
    return save(path, ("unk__7", 28, 28, 1))


def run(model: Path, repository: Path, *words: str) -> int:
    return main(["import", str(model), "--data", "sample", "--repository", str(repository), *words])


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "found"),
    [
        (pytorch, "tensor(float) [N, 1, 28, 28], pixels mean 0.1307, deviation 0.3081, logits"),
        (keras, "tensor(float) [N, 28, 28, 1], pixels 0 to 1, probabilities"),
    ],
)
def test_file_of_another_program_is_imported_and_served(
    make: Callable[[Path], Path], found: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = make(tmp_path / "theirs.onnx")
    repository = tmp_path / "repository"
    assert run(path, repository, "--model", "mine", "--label", "stable", "--min-accuracy", "0.8") == 0
    out = capsys.readouterr().out
    assert f"input   {found}\n" in out
    assert "of 1,000 test images" in out
    assert f"model   {repository}/mine/1\n" in out
    version = repository / "mine" / "1"
    manifest = json.loads((version / "manifest.json").read_text())
    assert (manifest["imported"]["file"], manifest["parameters"]) == ("theirs.onnx", 7850)
    page = (version / "report" / "report.html").read_text()
    assert "imported from theirs.onnx" in page
    assert "theirs.onnx" in (version / "report" / "MODEL_CARD.md").read_text()
    data = load_sample()
    expected = (np.c_[data.x_test / 255, np.ones(1000)] @ weights()).argmax(axis=1)
    with running("--model-repository", repository) as server:
        answer = server.predict(data.x_test.tobytes())
    assert (np.array(answer.digits) == expected).mean() > 0.995
    foreign = inspect(path, data.x_train, data.y_train)
    foreign.wrap(tmp_path / "again.onnx", {"imported": "theirs.onnx", "sha256": foreign.sha256})
    # The same file gives the same graph, so that a second import finds the version.
    assert (tmp_path / "again.onnx").read_bytes() == (version / "model.onnx").read_bytes()


def test_inverted_bytes_are_recognised_and_a_gate_refuses(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def scaled(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.r_[-matrix[:-1] / 255, (matrix[-1] + matrix[:-1].sum(axis=0))[None]].astype(np.float32)

    path = save(tmp_path / "inverted.onnx", ("N", 784), kind=TensorProto.UINT8, scaled=scaled)
    assert run(path, tmp_path / "repository", "--min-accuracy", "0.99") == 3
    output = capsys.readouterr()
    assert "tensor(uint8) [N, 784], pixels 0 to 255, ink dark, probabilities" in output.out
    assert "expected at least 99.00%" in output.err
    assert not (tmp_path / "repository" / "inverted").exists()


def noise(matrix: NDArray[np.float32]) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(size=matrix.shape).astype(np.float32)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda path: save(path, classes=7), "returns float32 of shape [2000, 7] for 2000 images"),
        (lambda path: save(path, (28, 28)), "takes images of shape [28], expected 784 numbers"),
        (lambda path: save(path, (1, 784)), "takes exactly 1 images at a time"),
        (
            lambda path: save(path, kind=TensorProto.INT64),
            "takes x tensor(int64), expected one tensor of uint8 or float",
        ),
        (lambda path: save(path, last="Hardmaxx"), "cannot be loaded as an ONNX model: "),
        (lambda path: save(path, scaled=noise), "tried pixels 0 to 255: "),
    ],
)
def test_model_that_does_not_fit_is_refused_in_one_line(
    make: Callable[[Path], Path], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(make(tmp_path / "model.onnx"), tmp_path / "repository") == 1
    error = capsys.readouterr().err
    assert error.startswith(f"digit-trainer: {tmp_path}/model.onnx: ")
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "repository").exists()


def test_weights_that_are_missing_are_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = pytorch(tmp_path / "model.onnx")
    (tmp_path / "weights.bin").unlink()
    assert run(path, tmp_path / "repository") == 1
    assert "weights.bin" in capsys.readouterr().err


@pytest.mark.parametrize(("content", "message"), [(b"<html>", "cannot be loaded"), (None, "No such file")])
def test_file_that_is_no_model_is_named(
    content: bytes | None, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    if content is not None:
        (tmp_path / "model.onnx").write_bytes(content)
    assert run(tmp_path / "model.onnx", tmp_path / "repository") == 1
    assert f"{tmp_path}/model.onnx: {message}" in capsys.readouterr().err
