"""The teacher of a recipe."""

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from tests.conftest import linear_graph
from trainer.backend import tf
from trainer.errors import RecipeError
from trainer.recipe import Recipe, Teacher, load_recipe
from trainer.teacher import load_teacher, teacher_sha256

IMAGES = np.random.default_rng(3).integers(0, 256, (5, 784)).astype(np.float32)


def taught_by(model: object, **changes: Any) -> Recipe:
    from msgspec.structs import replace  # noqa: PLC0415

    digits = load_recipe("digits")
    return replace(digits, fit=replace(digits.fit, teacher=Teacher(str(model), **changes)))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "model.onnx").write_bytes(linear_graph())
    return tmp_path


def test_digest_of_a_shipped_teacher_is_the_file_s() -> None:
    graph = Path("server/models/accurate/2/model.onnx")
    assert teacher_sha256(taught_by("accurate/2")) == hashlib.sha256(graph.read_bytes()).hexdigest()
    assert teacher_sha256(load_recipe("accurate")) is load_teacher(load_recipe("accurate")) is None


def test_answers_are_the_graph_s_softened_by_the_temperature(folder: Path) -> None:
    sharp, soft = (load_teacher(taught_by(folder, temperature=t)) for t in (1.0, 4.0))
    assert sharp is not None
    assert soft is not None
    answers, softened = sharp.probabilities(IMAGES).numpy(), soft.probabilities(IMAGES).numpy()
    expected = answers**0.25
    np.testing.assert_allclose(softened, expected / expected.sum(axis=1, keepdims=True), rtol=1e-3)
    assert softened.max() < answers.max()


def test_loss_mixes_the_labels_and_the_teacher_by_the_share(folder: Path) -> None:
    answers = tf.constant([[0.7, 0.3] + [0.0] * 8])
    same, other = answers, tf.constant([[0.3, 0.7] + [0.0] * 8])
    teacher = load_teacher(taught_by(folder, temperature=1.0, share=0.25))
    assert teacher is not None
    entropy = -(0.7 * np.log(0.7) + 0.3 * np.log(0.3))
    assert float(teacher.loss(2.0, answers, same)) == pytest.approx(0.75 * 2 + 0.25 * entropy, rel=1e-3)
    assert float(teacher.loss(2.0, answers, other)) > float(teacher.loss(2.0, answers, same))


def test_teacher_that_is_none_is_one_clear_line(tmp_path: Path) -> None:
    with pytest.raises(
        RecipeError, match=r"fit\.teacher\.model: nowhere: no model\.onnx there, .*accurate/2"
    ):
        load_teacher(taught_by("nowhere"))
    (tmp_path / "model.onnx").write_bytes(b"no graph")
    with pytest.raises(RecipeError, match=r"fit\.teacher\.model: .*model\.onnx: "):
        load_teacher(taught_by(tmp_path))


def test_teacher_with_other_tensors_is_refused(tmp_path: Path) -> None:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 784])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 784])
    graph = helper.make_graph([helper.make_node("Identity", ["x"], ["y"])], "g", [x], [y])
    opset = [helper.make_opsetid("", 13)]
    (tmp_path / "model.onnx").write_bytes(
        helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()
    )
    with pytest.raises(RecipeError, match=r"has \[\('x', 'tensor\(float\)'"):
        load_teacher(taught_by(tmp_path))
