"""Import of other programs' ONNX models: layout and scaling found by trial, wrapped to the contract."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, TensorProto, compose, helper, numpy_helper
from scipy import special

from trainer.data.dataset import DIGITS, PIXELS
from trainer.errors import TrainerError, first_line
from trainer.export.onnx import INPUT_NAME, OUTPUT_NAME, finish
from trainer.export.predictor import are_probabilities, onnx_predictor

MAX_BYTES = 256 * 2**20
"""Of a graph with its weights: the largest that the server loads."""

SCALINGS = {  # factor and offset applied to pixels 0-255
    "0 to 255": (1.0, 0.0),
    "0 to 1": (1 / 255, 0.0),
    "-1 to 1": (2 / 255, -1.0),
    "mean 0.1307, deviation 0.3081": (1 / 255 / 0.3081, -0.1307 / 0.3081),
}
LEAST_ACCURACY = 0.5
_TRIAL_IMAGES = 2000
_LEAST = 1e-7
_OLDEST_OPSET = 9
_PREFIX = "imported/"


@dataclass(frozen=True)
class Preparation:
    """The preprocessing of pixels 0-255 that a model expects."""

    scaling: str
    inverted: bool

    def __str__(self) -> str:
        """Return a description for people."""
        return f"pixels {self.scaling}" + (", ink dark" if self.inverted else "")

    @property
    def linear(self) -> tuple[float, float]:
        """Factor and offset."""
        factor, offset = SCALINGS[self.scaling]
        return (-factor, offset + 255 * factor) if self.inverted else (factor, offset)


@dataclass(frozen=True, eq=False)
class Foreign:
    """A foreign model: its file, graph and preprocessing."""

    path: Path
    model: ModelProto
    preparation: Preparation
    softmax: bool  # whether the outputs are logits

    @property
    def sha256(self) -> str:
        """SHA-256 of the file."""
        return hashlib.sha256(self.path.read_bytes()).hexdigest()

    def __str__(self) -> str:
        """Return a description for people."""
        _, element_type, shape = _input(self.model)
        element = "float" if element_type == TensorProto.FLOAT else "uint8"
        sizes = ", ".join(map(str, ("N", *shape)))
        kind = "logits" if self.softmax else "probabilities"
        return f"tensor({element}) [{sizes}], {self.preparation}, {kind}"

    def wrap(self, path: Path, metadata: dict[str, str]) -> int:
        """Write the model with `images` uint8 [N, 784] and `probabilities` float32 [N, 10].

        Returns the number of its parameters. Raises TrainerError.
        """
        model = compose.add_prefix(self.model, _PREFIX)
        (opset,) = [each.version for each in model.opset_import if each.domain in {"", "ai.onnx"}]
        if opset < _OLDEST_OPSET:
            raise TrainerError(f"{self.path}: opset {opset}, expected {_OLDEST_OPSET} or newer")
        before, after, constants = self._nodes()
        nodes = [*before, *model.graph.node, *after]
        del model.graph.node[:], model.graph.input[:], model.graph.output[:]
        model.graph.node.extend(nodes)
        model.graph.initializer.extend(constants)
        model.graph.input.append(helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", PIXELS]))
        model.graph.output.append(
            helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", DIGITS])
        )
        del model.graph.value_info[:]
        newest = model.ir_version
        finish(model, self.path.stem, metadata)
        model.ir_version = max(newest, model.ir_version)
        path.write_bytes(model.SerializeToString())
        floats = [tensor for tensor in model.graph.initializer if tensor.data_type == TensorProto.FLOAT]
        return sum(int(np.prod(tensor.dims)) for tensor in floats) - len(constants) + 1

    def _nodes(self) -> tuple[list[onnx.NodeProto], list[onnx.NodeProto], list[TensorProto]]:
        """Return the nodes before and after the model, and their constants."""
        name, element_type, shape = _input(self.model)
        factor, offset = self.preparation.linear
        constants: dict[str, NDArray[Any]] = {
            "factor": np.array(factor, np.float32),
            "offset": np.array(offset, np.float32),
            "layout": np.array([-1, *shape], np.int64),
        }
        before = [
            helper.make_node("Cast", [INPUT_NAME], ["pixels"], to=TensorProto.FLOAT),
            helper.make_node("Mul", ["pixels", "factor"], ["multiplied"]),
            helper.make_node("Add", ["multiplied", "offset"], ["prepared"]),
            helper.make_node("Cast", ["prepared"], ["typed"], to=element_type),
            helper.make_node("Reshape", ["typed", "layout"], [_PREFIX + name]),
        ]
        names = [_PREFIX + self.model.graph.output[0].name], [OUTPUT_NAME]
        last = (
            helper.make_node("Softmax", *names, axis=1)
            if self.softmax
            else helper.make_node("Identity", *names)
        )
        return before, [last], [numpy_helper.from_array(value, name) for name, value in constants.items()]


def inspect(path: Path, images: NDArray[np.uint8], digits: NDArray[np.int64]) -> Foreign:
    """Open a model, and find its preprocessing by its accuracy on labelled images [n, 784].

    Raises TrainerError if it is not a model of ten digits, or no preprocessing reaches an accuracy of one
    half.
    """
    model = _load(path)
    predict = onnx_predictor(path, content=model.SerializeToString())
    if len(model.graph.output) != 1:
        names = ", ".join(tensor.name for tensor in model.graph.output)
        raise TrainerError(f"{path}: has {len(model.graph.output)} outputs ({names}), expected one")
    chosen = np.random.default_rng(1).permutation(len(digits))[:_TRIAL_IMAGES]
    tried: list[tuple[float, float, Preparation, bool]] = []
    for preparation in _preparations(model):
        factor, offset = preparation.linear
        outputs = predict(images[chosen].astype(np.float32) * factor + offset)
        if outputs.shape != (len(chosen), DIGITS) or outputs.dtype != np.float32:
            raise TrainerError(
                f"{path}: returns {outputs.dtype} of shape {list(outputs.shape)} for {len(chosen)} images, "
                f"expected float32 [{len(chosen)}, {DIGITS}]"
            )
        softmax = not are_probabilities(outputs).all()
        probabilities = special.softmax(outputs, axis=1) if softmax else outputs
        accuracy = float((outputs.argmax(axis=1) == digits[chosen]).mean())
        likelihood = np.log(np.maximum(probabilities[np.arange(len(chosen)), digits[chosen]], _LEAST)).mean()
        tried.append((round(accuracy, 3), float(likelihood), preparation, softmax))
    accuracy, _, preparation, softmax = max(tried, key=lambda each: each[:2])
    if accuracy < LEAST_ACCURACY:
        results = "; ".join(f"{each[2]}: {each[0]:.1%}" for each in tried)
        raise TrainerError(
            f"{path}: {accuracy:.1%} of {len(chosen)} labelled images right at best, expected at least "
            f"{LEAST_ACCURACY:.0%}; tried {results}"
        )
    return Foreign(path, model, preparation, softmax)


def _input(model: ModelProto) -> tuple[str, int, tuple[int, ...]]:
    """Return name, element type and one image's shape of the input; old files list constants there, too."""
    constants = {tensor.name for tensor in model.graph.initializer}
    tensor = next(each for each in model.graph.input if each.name not in constants)
    kind = tensor.type.tensor_type
    return tensor.name, kind.elem_type, tuple(dim.dim_value for dim in kind.shape.dim[1:])


def _preparations(model: ModelProto) -> Iterator[Preparation]:
    _, element_type, _ = _input(model)
    for scaling in SCALINGS if element_type == TensorProto.FLOAT else list(SCALINGS)[:1]:
        for inverted in (False, True):
            yield Preparation(scaling, inverted)


def _load(path: Path) -> ModelProto:
    """Return the model with all weights, including external data."""
    try:
        model = onnx.load(path)
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}") from error
    except Exception as error:  # errors of Protocol Buffers and of onnx
        raise TrainerError(f"{path}: cannot be loaded as an ONNX model: {first_line(error)}") from error
    if (size := model.ByteSize()) > MAX_BYTES:
        raise TrainerError(f"{path}: {size:,} bytes with its weights, expected at most {MAX_BYTES:,}")
    return model
