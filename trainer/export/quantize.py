"""Static 8-bit quantization from Keras weights.

`onnxruntime.quantization` produces a graph that is no faster than float32 (`make bench-export`): integer
convolution of one input channel is slow, and tensors are transposed between layouts. This graph is
channels-last throughout, and its first convolution has four input channels or stays in float32.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trainer.backend import keras
from trainer.data.dataset import DIGITS, PIXELS, SIDE
from trainer.errors import TrainerError
from trainer.export.onnx import INPUT_NAME, ONLY_IN_TRAINING, OPSET, OUTPUT_NAME, finish

# ONNX Runtime's own domain, which has channels-last kernels.
_ORT_DOMAIN = "com.microsoft"
_BRIGHTEST = 255.0
# Outliers saturate, which costs less than coarser steps.
_PERCENTILE = 99.995
_BATCH_IMAGES = 200
_TINY = 1e-12
_PAIR = [2, 2]

Floats = NDArray[np.float64]


@dataclass
class _Block:
    """A convolution with ReLU and optional max pool; `last` is its last Keras layer."""

    kernel: Floats  # (filters, channels, height, width)
    bias: Floats
    attributes: dict[str, Any]
    last: Any
    pool: dict[str, Any] | None = None

    @property
    def bounds(self) -> Floats:
        """Maximum output of each filter for pixels up to 255 (first convolution only)."""
        bounds: Floats = _BRIGHTEST * np.maximum(self.kernel, 0).sum(axis=(1, 2, 3)) + self.bias
        return np.maximum(bounds, 1e-6)


def quantize(network: Any, path: Path, images: NDArray[np.uint8], metadata: dict[str, str]) -> None:
    """Write the 8-bit ONNX form of a served network; `images` uint8 [n, 784] calibrate its activations.

    Raises TrainerError unless the network is two or more Conv2D with ReLU, each with or without
    MaxPooling2D, and one Dense layer with softmax.
    """
    (first, *others), dense = _blocks(network)
    largest = _largest_outputs(network, [block.last for block in others], images)
    graph = _Graph()
    scale = graph.space_to_depth(first) if _pools_pairs(first) else graph.in_float(first)
    for number, (block, most) in enumerate(zip(others, largest, strict=True), 2):
        after = np.array(most / _BRIGHTEST)
        graph.convolve(f"qconv_{number}", block, scale, after)
        scale = after
    graph.dense(dense, scale)
    tensors = [
        helper.make_tensor_value_info(INPUT_NAME, TensorProto.UINT8, ["N", PIXELS]),
        helper.make_tensor_value_info(OUTPUT_NAME, TensorProto.FLOAT, ["N", DIGITS]),
    ]
    model = helper.make_model(
        helper.make_graph(graph.nodes, network.name, tensors[:1], tensors[1:], graph.constants),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(_ORT_DOMAIN, 1)],
    )
    finish(model, network.name, metadata)
    onnx.checker.check_model(model)
    path.write_bytes(model.SerializeToString())


def _blocks(network: Any) -> tuple[list[_Block], Any]:
    """Return the convolutions and the Dense layer of a network."""
    layers = [layer for layer in network.layers if not isinstance(layer, ONLY_IN_TRAINING)]
    scale = 1.0
    if isinstance(layers[0], keras.layers.Rescaling) and not np.any(layers[0].offset):
        scale = float(layers.pop(0).scale)
    blocks: list[_Block] = []
    rest, tail = layers[1:-2], layers[-2:]
    chain = isinstance(layers[0], keras.layers.Reshape) and tuple(layers[0].target_shape) == (SIDE, SIDE, 1)
    for layer in rest:
        padding = getattr(layer, "padding", None)
        if isinstance(layer, keras.layers.MaxPooling2D) and blocks and blocks[-1].pool is None:
            blocks[-1].last = layer
            blocks[-1].pool = _window(layer, layer.pool_size, layer.strides, (1, 1))
        elif type(layer) is keras.layers.Conv2D and layer.groups == 1 and padding in {"same", "valid"}:
            chain &= layer.activation is keras.activations.relu
            kernel = layer.get_weights()[0].astype(np.float64).transpose(3, 2, 0, 1) * (
                1 if blocks else scale
            )
            bias = layer.get_weights()[1].astype(np.float64) if layer.use_bias else np.zeros(layer.filters)
            window = _window(layer, layer.kernel_size, layer.strides, layer.dilation_rate)
            blocks.append(_Block(kernel, bias, window, layer))
        else:
            chain = False
    chain &= [type(layer) for layer in tail] == [keras.layers.Flatten, keras.layers.Dense]
    if not chain or len(blocks) < 2 or tail[1].activation is not keras.activations.softmax:  # noqa: PLR2004  # fewer would leave nothing to quantize
        raise TrainerError(
            f"{network.name}: cannot be quantized, expected two or more Conv2D with relu, pooled or not, "
            "then Flatten and one Dense layer with softmax"
        )
    return blocks, tail[1]


def _window(layer: Any, size: Any, strides: Any, dilations: Any) -> dict[str, Any]:
    """Return the ONNX attributes of a Keras layer's window."""
    pads = np.zeros((2, 2), int)  # before, after
    if layer.padding == "same":
        inside, outside = np.array(layer.input.shape[1:3]), np.array(layer.output.shape[1:3])
        covered = (outside - 1) * strides + (np.array(size) - 1) * dilations + 1
        total = np.maximum(covered - inside, 0)
        pads = np.array([total // 2, total - total // 2])
    window = {"kernel_shape": list(size), "strides": list(strides), "dilations": list(dilations)}
    return window | {"pads": [int(pad) for pad in pads.ravel()]}


def _largest_outputs(network: Any, layers: list[Any], images: NDArray[np.uint8]) -> list[float]:
    """Return a high quantile of each layer's output on these images."""
    watched = keras.Model(network.inputs[0], {str(i): layer.output for i, layer in enumerate(layers)})
    seen = np.full(len(layers), 1e-6)
    for start in range(0, len(images), _BATCH_IMAGES):
        outputs = watched(images[start : start + _BATCH_IMAGES].astype(np.float32), training=False)
        seen = np.maximum(seen, [np.percentile(outputs[str(i)], _PERCENTILE) for i in range(len(seen))])
    return [float(largest) for largest in seen]


def _pools_pairs(first: _Block) -> bool:
    """Tell whether `space_to_depth` applies: an odd kernel with stride 1, then 2x2 max pooling."""
    height, width = first.kernel.shape[2:]
    (top, left, bottom, right), pool = first.attributes["pads"], first.pool
    return (
        height % 2 == width % 2 == 1
        and set(first.attributes["strides"]) == set(first.attributes["dilations"]) == {1}
        and (top + bottom) % 2 == (left + right) % 2 == (SIDE - height + 1 + top + bottom) % 2 == 0
        and (SIDE - width + 1 + left + right) % 2 == 0
        and pool is not None
        and pool["kernel_shape"] == pool["strides"] == _PAIR
        and not any(pool["pads"])
    )


@dataclass
class _Graph:
    """Builder of nodes and constants; `last` is the input of the next node."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    last: str = INPUT_NAME

    def in_float(self, first: _Block) -> Floats:
        """Compute the first convolution in float, then quantize; return the scale of each channel."""
        shrink = _BRIGHTEST / first.bounds
        self._node("Cast", "cast_1", to=TensorProto.FLOAT)
        self._reshape("reshape_1", 1, SIDE, SIDE)
        kernel = self._constant("conv_1_weights", first.kernel * shrink[:, None, None, None], np.float32)
        # The cast truncates; adding 0.5 rounds.
        bias = self._constant("conv_1_bias", first.bias * shrink + 0.49, np.float32)
        self._node("Conv", "conv_1", kernel, bias, **first.attributes)
        self._node("Relu", "relu_1")
        if first.pool is not None:
            self._node("MaxPool", "maxpool_1", **first.pool)
        self._node("Transpose", "channels_last", perm=[0, 2, 3, 1])
        self._node("Cast", "quantize_1", to=TensorProto.UINT8)
        return first.bounds / _BRIGHTEST

    def space_to_depth(self, first: _Block) -> Floats:
        """Compute a first convolution and its 2x2 pool in 8 bits; return the scale of each channel.

        Space to depth: four pixels become four channels, and the four positions of a pooling window four
        times the filters. Pooling is then the maximum of four channels.
        """
        filters, _, height, width = first.kernel.shape
        top, left, bottom, right = first.attributes["pads"]
        rows, columns = SIDE + top + bottom, SIDE + left + right
        self._reshape("reshape_1", SIDE, SIDE)
        pads = self._constant("pad_1_pads", [0, top, left, 0, bottom, right], np.int64)
        self._node("Pad", "pad_1", pads, self._constant("pad_1_value", 0, np.uint8))
        self._reshape("blocks", rows // 2, 2, columns // 2, 2)
        self._node("Transpose", "blocks_last", perm=[0, 1, 3, 2, 4])
        self._reshape("space_to_depth", rows // 2, columns // 2, 4)
        windows = np.zeros((2, 2, filters, height + 1, width + 1))
        for down in range(2):
            for across in range(2):
                windows[down, across, :, down : down + height, across : across + width] = first.kernel[:, 0]
        size = [(height + 1) // 2, (width + 1) // 2]
        kernels = windows.reshape(4 * filters, size[0], 2, size[1], 2).transpose(0, 2, 4, 1, 3)
        block = _Block(
            kernels.reshape(4 * filters, 4, *size), np.tile(first.bias, 4), {"kernel_shape": size}, None
        )
        self.convolve("qconv_1", block, np.ones(1), np.tile(first.bounds, 4) / _BRIGHTEST)
        rows, columns = (rows - height + 1) // 2, (columns - width + 1) // 2
        self._reshape("depth", rows * columns, 4, filters)
        pool = {"kernel_shape": [1, 4], "strides": [1, 4]}
        self._node("NhwcMaxPool", "qconv_1_pool", domain=_ORT_DOMAIN, **pool)
        self._reshape("pooled", rows, columns, filters)
        return first.bounds / _BRIGHTEST

    def convolve(self, name: str, block: _Block, before: Floats, after: Floats) -> None:
        """Convolve uint8; `before` and `after` are the scales of input and output, per channel or not."""
        # The input's scale moves into the kernel, by channel.
        kernel = block.kernel * np.reshape(before, (1, -1, 1, 1))
        step = np.maximum(np.abs(kernel).max(axis=(1, 2, 3)) / 127, _TINY)
        one = self._constant(f"{name}_one", 1.0, np.float32)
        zero = self._constant(f"{name}_zero", 0, np.uint8)
        inputs = [
            *(one, zero),
            self._constant(f"{name}_weights", np.round(kernel / step[:, None, None, None]), np.int8),
            # The output's scale moves into the weights' scale.
            self._constant(f"{name}_weights_scale", step / after, np.float32),
            self._constant(f"{name}_weights_zero", np.zeros(len(step)), np.int8),
            # Saturation at 0 is the ReLU.
            *(one, zero),
            self._constant(f"{name}_bias", np.round(block.bias / step), np.int32),
        ]
        self._node("QLinearConv", name, *inputs, domain=_ORT_DOMAIN, channels_last=1, **block.attributes)
        if block.pool is not None:
            self._node("NhwcMaxPool", f"{name}_pool", domain=_ORT_DOMAIN, **block.pool)

    def dense(self, layer: Any, scale: Floats) -> None:
        """Append the Dense layer and softmax in float; the input's scale moves into the matrix."""
        matrix = layer.get_weights()[0].astype(np.float64)
        scales = np.tile(scale, len(matrix) // scale.size)
        self._reshape("reshape_2", len(matrix))
        self._node("Cast", "cast_2", to=TensorProto.FLOAT)
        bias = layer.get_weights()[1] if layer.use_bias else np.zeros(DIGITS)
        weights = self._constant("gemm_1_weights", matrix * scales[:, None], np.float32)
        self._node("Gemm", "gemm_1", weights, self._constant("gemm_1_bias", bias, np.float32))
        self._node("Softmax", OUTPUT_NAME, axis=-1)

    def _constant(self, name: str, value: Any, dtype: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def _reshape(self, name: str, *sizes: int) -> None:
        self._node("Reshape", name, self._constant(f"{name}_shape", [-1, *sizes], np.int64))

    def _node(self, kind: str, output: str, *inputs: str, domain: str = "", **attributes: Any) -> None:
        """Append a node with the last tensor and these inputs."""
        names = [self.last, *inputs]
        self.nodes.append(helper.make_node(kind, names, [output], name=output, domain=domain, **attributes))
        self.last = output
