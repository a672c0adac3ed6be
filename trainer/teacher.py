"""The teacher of a recipe: distillation from a published model."""

import hashlib
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from trainer.backend import tf
from trainer.errors import RecipeError
from trainer.recipe import Recipe

_GRAPH = "model.onnx"
_LEAST = 1e-7
"""Probabilities below are taken for it before their logarithm."""


@dataclass(frozen=True)
class TeacherModel:
    """An ONNX graph from uint8 [n, 784] to probabilities float32 [n, 10], and the weight of its loss."""

    session: ort.InferenceSession
    temperature: float
    share: float

    def probabilities(self, images: Any) -> Any:
        """Return softened probabilities float32 [n, 10] of images float32 [n, 784] in 0-255."""
        pixels = tf.cast(tf.round(images), tf.uint8)
        answers = tf.ensure_shape(tf.numpy_function(self._run, [pixels], tf.float32), (None, 10))
        return tf.exp(_soften(answers, self.temperature))

    def loss(self, own: Any, answers: Any, probabilities: Any) -> Any:
        """Return the combined loss: `own` and the cross-entropy with the teacher's softened probabilities."""
        cross = -tf.reduce_sum(answers * _soften(probabilities, self.temperature), axis=1)
        return (1 - self.share) * own + self.share * self.temperature**2 * tf.reduce_mean(cross)

    def _run(self, pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers: NDArray[np.float32] = self.session.run(None, {"images": pixels})[0]
        return answers


def _soften(probabilities: Any, temperature: float) -> Any:
    """Return log softmax(logits / T) from probabilities."""
    return tf.nn.log_softmax(tf.math.log(tf.maximum(probabilities, _LEAST)) / temperature)


def teacher_graph(recipe: Recipe) -> Path | None:
    """Return the file of the teacher's graph; None without a teacher. Raises RecipeError."""
    teacher = recipe.fit.teacher
    if teacher is None:
        return None
    shipped = Path(str(files("server"))) / "models"
    for folder in (Path(teacher.model), shipped / teacher.model):
        if (folder / _GRAPH).is_file():
            return folder / _GRAPH
    known = ", ".join(sorted(str(path.parent.relative_to(shipped)) for path in shipped.glob(f"*/*/{_GRAPH}")))
    raise RecipeError(
        f"{recipe.source}: fit.teacher.model: {teacher.model}: no {_GRAPH} there, "
        f"expected a version's folder or a shipped version: {known or 'none is installed'}"
    )


def teacher_sha256(recipe: Recipe) -> str | None:
    """Return the SHA-256 of the teacher's graph; None without a teacher. Raises RecipeError."""
    path = teacher_graph(recipe)
    return hashlib.sha256(path.read_bytes()).hexdigest() if path else None


def load_teacher(recipe: Recipe) -> TeacherModel | None:
    """Return the recipe's teacher, if it has one. Raises RecipeError."""
    path, teacher = teacher_graph(recipe), recipe.fit.teacher
    if path is None or teacher is None:
        return None
    options = ort.SessionOptions()
    # Its threads would otherwise keep the cores busy between two batches, which TensorFlow needs then.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's errors have no common base class
        reason = " ".join(str(error).split())[:200]
        raise RecipeError(f"{recipe.source}: fit.teacher.model: {path}: {reason}") from error
    signature = [
        (each.name, each.type, each.shape[1:]) for each in (*session.get_inputs(), *session.get_outputs())
    ]
    expected = [("images", "tensor(uint8)", [784]), ("probabilities", "tensor(float)", [10])]
    if signature != expected:
        raise RecipeError(f"{recipe.source}: fit.teacher.model: {path}: has {signature}, expected {expected}")
    return TeacherModel(session, teacher.temperature, teacher.share)
