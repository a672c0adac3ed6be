"""A second artefact in 8-bit integers, for the convolutions that cost most.

The first convolution stays in float: with one input channel its integer kernel is several times slower
than the float one. Its output is cast to bytes and handed on, channels last, to integer convolutions.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from trainer.errors import TrainerError
from trainer.export import IR_VERSION, OPSET

# The kernels that take channels last are ONNX Runtime's own; the standard operators would transpose.
_ORT = "com.microsoft"
_BRIGHTEST = 255.0
# A few outliers may saturate; that costs less than the coarser steps that would hold them.
_PERCENTILE = 99.995
_CALIBRATION_BATCH_IMAGES = 200


def quantize(source: Path, target: Path, images: NDArray[np.uint8]) -> None:
    """Write the 8-bit form of an exported graph; `images` uint8 [n, 784] show how large activations get.

    Raises TrainerError when the graph is not a chain of convolutions with relu, pooled or not, that ends in
    one dense layer with softmax.
    """
    model = onnx.load(source)
    blocks, tail = _blocks(model, source)
    largest = _largest(model, [block.output for block in blocks], images)
    graph = _Builder(model)
    graph.float_block(blocks[0])
    scale: NDArray[np.float64] | float = graph.bounds / _BRIGHTEST
    for block in blocks[1:]:
        after = largest[block.output] / _BRIGHTEST
        graph.integer_block(block, scale, after)
        scale = after
    graph.dense(tail, _shape(model, blocks[-1].output), scale)
    quantized = helper.make_model(
        helper.make_graph(
            graph.nodes, model.graph.name, list(model.graph.input), list(model.graph.output), graph.constants
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(_ORT, 1)],
        ir_version=IR_VERSION,
        producer_name=model.producer_name,
        doc_string=model.doc_string,
    )
    helper.set_model_props(quantized, {entry.key: entry.value for entry in model.metadata_props})
    onnx.checker.check_model(quantized)
    target.write_bytes(quantized.SerializeToString())


@dataclass(frozen=True)
class _Block:
    """A convolution with relu and, where one follows, the pool behind it."""

    convolution: NodeProto
    pool: NodeProto | None
    output: str


@dataclass
class _Builder:
    """Nodes and constants of the graph as it grows."""

    model: ModelProto
    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    bounds: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    last: str = "images"

    def constant(self, name: str, value: Any, dtype: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        self.last = output

    def float_block(self, block: _Block) -> None:
        """Compute the first convolution so that no output can exceed 255, then go on in bytes.

        No pixel exceeds 255, so the positive weights bound a channel: 255 times their sum, plus the bias.
        """
        weights, bias = self._weights(block)
        self.bounds = np.maximum(_BRIGHTEST * np.maximum(weights, 0).sum(axis=(1, 2, 3)) + bias, 1e-6)
        shrink = _BRIGHTEST / self.bounds
        self.node("Cast", [self.last], "cast_1", to=TensorProto.FLOAT)
        shape = self.constant("reshape_1_shape", [-1, 1, 28, 28], np.int64)
        self.node("Reshape", [self.last, shape], "reshape_1")
        inputs = [
            self.last,
            self.constant("conv_1_weights", weights * shrink[:, None, None, None], np.float32),
            # The cast cuts off what is behind the point; half of one more rounds.
            self.constant("conv_1_bias", bias * shrink + 0.49, np.float32),
        ]
        self.node("Conv", inputs, "conv_1", **_attributes(block.convolution))
        self.node("Relu", [self.last], "relu_1")
        if block.pool is not None:
            self.node("MaxPool", [self.last], "maxpool_1", **_attributes(block.pool))
        self.node("Transpose", [self.last], "channels_last", perm=[0, 2, 3, 1])
        self.node("Cast", [self.last], "bytes_1", to=TensorProto.UINT8)

    def integer_block(self, block: _Block, before: NDArray[np.float64] | float, after: float) -> None:
        """Convolve bytes; one of them is worth `before` (per channel or not), one of the output `after`."""
        name = f"q{block.convolution.name}"
        weights, bias = self._weights(block)
        # What a byte is worth goes into the kernel, channel by channel; the input's scale is then 1.
        weights = weights * np.reshape(before, (1, -1, 1, 1))
        step = np.maximum(np.abs(weights).max(axis=(1, 2, 3)) / 127, 1e-12)
        inputs = [
            self.last,
            self.constant(f"{name}_input_scale", 1.0, np.float32),
            self.constant(f"{name}_input_zero", 0, np.uint8),
            self.constant(f"{name}_weights", np.round(weights / step[:, None, None, None]), np.int8),
            self.constant(f"{name}_weights_scale", step, np.float32),
            self.constant(f"{name}_weights_zero", np.zeros(len(step)), np.int8),
            self.constant(f"{name}_output_scale", after, np.float32),
            # Zero is the smallest byte, so rounding to bytes is the relu.
            self.constant(f"{name}_output_zero", 0, np.uint8),
            self.constant(f"{name}_bias", np.round(bias / step), np.int32),
        ]
        attributes = _attributes(block.convolution)
        self.node("QLinearConv", inputs, name, _ORT, channels_last=1, **attributes)
        if block.pool is not None:
            self.node("NhwcMaxPool", [self.last], f"{name}_pool", _ORT, **_attributes(block.pool))

    def dense(self, tail: NodeProto, shape: tuple[int, int, int], scale: NDArray[np.float64] | float) -> None:
        """End in float: what a byte is worth goes into the matrix, its rows in the order channels last."""
        matrix = _constant(self.model, tail.input[1]).astype(np.float64)
        channels, height, width = shape
        matrix = matrix.reshape(channels, height, width, -1) * np.reshape(scale, (-1, 1, 1, 1))
        matrix = matrix.transpose(1, 2, 0, 3).reshape(channels * height * width, -1)
        flat = self.constant("reshape_2_shape", [-1, len(matrix)], np.int64)
        self.node("Reshape", [self.last, flat], "reshape_2")
        self.node("Cast", [self.last], "cast_2", to=TensorProto.FLOAT)
        weights = self.constant("gemm_1_weights", matrix, np.float32)
        bias = self.constant("gemm_1_bias", _constant(self.model, tail.input[2]), np.float32)
        self.node("Gemm", [self.last, weights, bias], "gemm_1")
        self.node("Softmax", [self.last], self.model.graph.output[0].name, axis=-1)

    def _weights(self, block: _Block) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        _, weights, bias = block.convolution.input
        return _constant(self.model, weights).astype(np.float64), _constant(self.model, bias).astype(
            np.float64
        )


def _blocks(model: ModelProto, source: Path) -> tuple[list[_Block], NodeProto]:
    """Return the convolutions with what follows each, and the dense layer behind them."""
    kinds = "".join(_LETTERS.get(node.op_type, "?") for node in model.graph.node)
    nodes = list(model.graph.node)
    if not kinds.startswith("tr") or not kinds.endswith("rgs"):
        raise _not_a_chain(source)
    blocks: list[_Block] = []
    i = 2
    while i < len(nodes) - 3:
        if kinds[i : i + 2] != "ca":
            raise _not_a_chain(source)
        pool = nodes[i + 2] if kinds[i + 2] == "p" else None
        last = pool or nodes[i + 1]
        blocks.append(_Block(nodes[i], pool, last.output[0]))
        i += 3 if pool is not None else 2
    if len(blocks) < 2:  # noqa: PLR2004  # with one there is nothing to quantize
        raise _not_a_chain(source)
    return blocks, nodes[-2]


_LETTERS = {
    "Cast": "t",
    "Reshape": "r",
    "Conv": "c",
    "Relu": "a",
    "MaxPool": "p",
    "Gemm": "g",
    "Softmax": "s",
}


def _not_a_chain(source: Path) -> TrainerError:
    return TrainerError(
        f"{source}: cannot be quantized, expected two or more convolutions with relu, pooled or not, "
        "then one dense layer with softmax"
    )


def _largest(model: ModelProto, names: list[str], images: NDArray[np.uint8]) -> dict[str, float]:
    """Return about the largest value that each tensor takes on these images."""
    import onnxruntime as ort  # noqa: PLC0415  # only needed once there is a graph to run

    watched = ModelProto()
    watched.CopyFrom(model)
    watched.graph.output.extend(
        helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names
    )
    session = ort.InferenceSession(watched.SerializeToString(), providers=["CPUExecutionProvider"])
    seen: dict[str, float] = dict.fromkeys(names, 1e-6)
    for start in range(0, len(images), _CALIBRATION_BATCH_IMAGES):
        batch = images[start : start + _CALIBRATION_BATCH_IMAGES]
        for name, values in zip(names, session.run(names, {"images": batch}), strict=True):
            seen[name] = max(seen[name], float(np.percentile(values, _PERCENTILE)))
    return seen


def _shape(model: ModelProto, name: str) -> tuple[int, int, int]:
    inferred = onnx.shape_inference.infer_shapes(model)
    info = next(info for info in inferred.graph.value_info if info.name == name)
    _, channels, height, width = (dim.dim_value for dim in info.type.tensor_type.shape.dim)
    return channels, height, width


def _constant(model: ModelProto, name: str) -> NDArray[Any]:
    return numpy_helper.to_array(next(tensor for tensor in model.graph.initializer if tensor.name == name))


def _attributes(node: NodeProto) -> dict[str, Any]:
    return {attribute.name: helper.get_attribute_value(attribute) for attribute in node.attribute}
