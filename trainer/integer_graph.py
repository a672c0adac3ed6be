"""Build a graph of 8-bit integers, node by node."""

from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import NodeProto, TensorProto, helper, numpy_helper

from trainer.data.values import SIDE

# The kernels that take channels last are ONNX Runtime's own; the standard operators would transpose.
ORT_DOMAIN = "com.microsoft"
BRIGHTEST = 255.0
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Convolution:
    """A convolution with relu and, where one follows, the pool behind it: `pool` is that one's attributes."""

    name: str
    weights: Floats  # (filters, channels, height, width)
    bias: Floats
    attributes: dict[str, Any]
    pool: dict[str, Any] | None
    output: str

    @property
    def bounds(self) -> Floats:
        """What no output can exceed when no input exceeds 255: 255 times the positive weights, plus the bias."""
        brightest: Floats = BRIGHTEST * np.maximum(self.weights, 0).sum(axis=(1, 2, 3)) + self.bias
        return np.maximum(brightest, 1e-6)


def pooled_in_halves(first: Convolution) -> bool:
    """Say whether `first_of_halves` can build it: an odd kernel at every pixel, then the best of each 2x2."""
    _, channels, height, width = first.weights.shape
    top, left, bottom, right = first.attributes.get("pads", [0, 0, 0, 0])
    return (
        channels == 1
        and height % 2 == width % 2 == 1
        and set(first.attributes.get("strides", [1])) == set(first.attributes.get("dilations", [1])) == {1}
        and (top + bottom) % 2 == (left + right) % 2 == 0
        and first.pool is not None
        and first.pool["kernel_shape"] == first.pool["strides"] == [2, 2]
        and not any(first.pool.get("pads", []))
    )


@dataclass
class IntegerGraph:
    """Nodes and constants of the graph as it grows; `last` is the tensor that the next node takes."""

    nodes: list[NodeProto] = field(default_factory=list)
    constants: list[TensorProto] = field(default_factory=list)
    last: str = "images"

    def first_in_float(self, first: Convolution) -> Floats:
        """Compute the first convolution in float, then go on in bytes; return what a byte of each channel is worth.

        With one input channel its integer kernel is several times slower than the float one.
        """
        shrink = BRIGHTEST / first.bounds
        self._node("Cast", [self.last], "cast_1", to=TensorProto.FLOAT)
        self._reshape("reshape_1", 1, SIDE, SIDE)
        inputs = [
            self.last,
            self._constant("conv_1_weights", first.weights * shrink[:, None, None, None], np.float32),
            # The cast cuts off what is behind the point; half of one more rounds.
            self._constant("conv_1_bias", first.bias * shrink + 0.49, np.float32),
        ]
        self._node("Conv", inputs, "conv_1", **first.attributes)
        self._node("Relu", [self.last], "relu_1")
        if first.pool is not None:
            self._node("MaxPool", [self.last], "maxpool_1", **first.pool)
        self._node("Transpose", [self.last], "channels_last", perm=[0, 2, 3, 1])
        self._node("Cast", [self.last], "bytes_1", to=TensorProto.UINT8)
        return first.bounds / BRIGHTEST

    def first_of_halves(self, first: Convolution) -> Floats:
        """Compute a first convolution and its pool in bytes; return what a byte of each channel is worth.

        Four pixels become the channels of one, and the four places of each pool's window become four times
        the filters: a quarter of the positions, each with enough channels for the integer kernel. The pool
        is then the largest of four neighbours.
        """
        filters, _, height, width = first.weights.shape
        top, left, bottom, right = first.attributes.get("pads", [0, 0, 0, 0])
        rows, columns = SIDE + top + bottom, SIDE + left + right
        self._reshape("reshape_1", SIDE, SIDE)
        pads = self._constant("pad_1_pads", [0, top, left, 0, bottom, right], np.int64)
        self._node("Pad", [self.last, pads, self._constant("pad_1_value", 0, np.uint8)], "pad_1")
        self._reshape("rows_and_columns", rows // 2, 2, columns // 2, 2)
        self._node("Transpose", [self.last], "four_together", perm=[0, 1, 3, 2, 4])
        self._reshape("four_channels", rows // 2, columns // 2, 4)

        windows = np.zeros((2, 2, filters, height + 1, width + 1))
        for down in range(2):
            for across in range(2):
                windows[down, across, :, down : down + height, across : across + width] = first.weights[:, 0]
        kernels = windows.reshape(4 * filters, (height + 1) // 2, 2, (width + 1) // 2, 2)
        places = replace(
            first,
            weights=kernels.transpose(0, 2, 4, 1, 3).reshape(
                4 * filters, 4, (height + 1) // 2, (width + 1) // 2
            ),
            bias=np.tile(first.bias, 4),
            attributes={"kernel_shape": [(height + 1) // 2, (width + 1) // 2]},
            pool=None,
        )
        self.convolve(places, np.ones(1), np.tile(first.bounds, 4) / BRIGHTEST)
        rows, columns = (rows - height + 1) // 2, (columns - width + 1) // 2
        self._reshape("four_places", rows * columns, 4, filters)
        window: dict[str, Any] = {"kernel_shape": [1, 4], "strides": [1, 4]}
        self._node("NhwcMaxPool", [self.last], f"q{first.name}_pool", ORT_DOMAIN, **window)
        self._reshape("places", rows, columns, filters)
        return first.bounds / BRIGHTEST

    def convolve(self, convolution: Convolution, before: Floats, after: Floats) -> None:
        """Convolve bytes; one of them is worth `before`, one of the output `after`, per channel or not."""
        name = f"q{convolution.name}"
        # What a byte is worth goes into the kernel, channel by channel; the input's scale is then 1.
        weights = convolution.weights * np.reshape(before, (1, -1, 1, 1))
        step = np.maximum(np.abs(weights).max(axis=(1, 2, 3)) / 127, 1e-12)
        one, zero = (
            self._constant(f"{name}_one", 1.0, np.float32),
            self._constant(f"{name}_zero", 0, np.uint8),
        )
        inputs = [
            *(self.last, one, zero),
            self._constant(f"{name}_weights", np.round(weights / step[:, None, None, None]), np.int8),
            # So does, in another place, what a byte of the output is worth.
            self._constant(f"{name}_weights_scale", step / after, np.float32),
            self._constant(f"{name}_weights_zero", np.zeros(len(step)), np.int8),
            # Zero is the smallest byte, so rounding to bytes is the relu.
            *(one, zero),
            self._constant(f"{name}_bias", np.round(convolution.bias / step), np.int32),
        ]
        self._node("QLinearConv", inputs, name, ORT_DOMAIN, channels_last=1, **convolution.attributes)
        if convolution.pool is not None:
            self._node("NhwcMaxPool", [self.last], f"{name}_pool", ORT_DOMAIN, **convolution.pool)

    def dense(
        self,
        weights: NDArray[np.float32],
        bias: NDArray[np.float32],
        shape: tuple[int, int, int],
        scale: Floats,
        output: str,
    ) -> None:
        """End in float: what a byte is worth goes into the matrix, its rows in the order channels last."""
        channels, height, width = shape
        matrix = weights.astype(np.float64).reshape(channels, height, width, -1) * np.reshape(
            scale, (-1, 1, 1, 1)
        )
        matrix = matrix.transpose(1, 2, 0, 3).reshape(channels * height * width, -1)
        self._reshape("reshape_2", len(matrix))
        self._node("Cast", [self.last], "cast_2", to=TensorProto.FLOAT)
        inputs = [
            self._constant("gemm_1_weights", matrix, np.float32),
            self._constant("gemm_1_bias", bias, np.float32),
        ]
        self._node("Gemm", [self.last, *inputs], "gemm_1")
        self._node("Softmax", [self.last], output, axis=-1)

    def _constant(self, name: str, value: Any, dtype: Any) -> str:
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def _reshape(self, name: str, *sizes: int) -> None:
        self._node("Reshape", [self.last, self._constant(f"{name}_shape", [-1, *sizes], np.int64)], name)

    def _node(self, kind: str, inputs: list[str], output: str, domain: str = "", **attributes: Any) -> None:
        self.nodes.append(helper.make_node(kind, inputs, [output], name=output, domain=domain, **attributes))
        self.last = output
