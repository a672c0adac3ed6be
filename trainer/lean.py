"""Make an exported ONNX graph as small as it can be without changing what it answers.

Each pass looks for one exact pattern and leaves the graph alone where it does not find it.
"""

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, numpy_helper


def make_lean(model: ModelProto) -> None:
    """Apply every pass to the model, in place."""
    _drop_zero_additions(model)
    _fold_scale_into_convolution(model)
    _fold_transpose_into_matrix(model)
    _join_matrix_and_bias(model)
    _drop_unused_constants(model)
    _rename(model)


def _drop_zero_additions(model: ModelProto) -> None:
    """Remove x + 0, which scaling without an offset leaves behind."""
    for node in _nodes(model, "Add"):
        for value, other in (node.input, reversed(node.input)):
            constant = _constant(model, other)
            if constant is not None and not constant.any() and constant.size == 1:
                _bypass(model, node, value)
                break


def _fold_scale_into_convolution(model: ModelProto) -> None:
    """Turn conv(reshape(x * s)) into conv(reshape(x)) with the kernel times s.

    A convolution is linear and pads with zeros, so a factor before it is the same factor on its kernel.
    """
    for scale in _nodes(model, "Mul"):
        factor = _constant(model, scale.input[1])
        if factor is None or factor.size != 1:
            continue
        consumer = _only_consumer(model, scale.output[0])
        while consumer is not None and consumer.op_type == "Reshape":
            consumer = _only_consumer(model, consumer.output[0])
        if consumer is None or consumer.op_type != "Conv":
            continue
        kernel = _constant(model, consumer.input[1])
        if kernel is None:
            continue
        _set_constant(model, consumer, 1, (kernel.astype(np.float64) * factor.item()).astype(np.float32))
        _bypass(model, scale, scale.input[0])


def _fold_transpose_into_matrix(model: ModelProto) -> None:
    """Turn reshape(transpose(x)) @ w into reshape(x) @ w with the rows of w in another order.

    Keras lays a feature map out as height, width, channels, ONNX as channels, height, width.
    """
    shapes = _shapes(model)
    for transpose in _nodes(model, "Transpose"):
        reshape = _only_consumer(model, transpose.output[0])
        product = _only_consumer(model, reshape.output[0]) if reshape is not None else None
        if reshape is None or product is None or (reshape.op_type, product.op_type) != ("Reshape", "MatMul"):
            continue
        order = list(transpose.attribute[0].ints)
        sizes = [size or 0 for size in shapes.get(transpose.input[0], [])[1:]]  # without the batch
        matrix = _constant(model, product.input[1])
        target = _constant(model, reshape.input[1])
        flat = int(np.prod(sizes))
        if matrix is None or target is None or order[0] != 0 or flat == 0 or target.tolist() != [-1, flat]:
            continue
        # positions[i] is the place, in the untransposed row, of what the transposed row has at i
        positions = np.arange(flat).reshape(sizes).transpose([axis - 1 for axis in order[1:]]).ravel()
        reordered = np.empty_like(matrix)
        reordered[positions] = matrix
        _set_constant(model, product, 1, reordered)
        _bypass(model, transpose, transpose.input[0])


def _join_matrix_and_bias(model: ModelProto) -> None:
    """Turn (x @ w) + b into one Gemm."""
    for product in _nodes(model, "MatMul"):
        matrix = _constant(model, product.input[1])
        addition = _only_consumer(model, product.output[0])
        if matrix is None or matrix.ndim != 2 or addition is None or addition.op_type != "Add":  # noqa: PLR2004  # a matrix
            continue
        bias = _constant(model, addition.input[1])
        if addition.input[0] != product.output[0] or bias is None or bias.shape != matrix.shape[1:]:
            continue
        joined = onnx.helper.make_node(
            "Gemm", [*product.input, addition.input[1]], [addition.output[0]], name=product.name
        )
        product.CopyFrom(joined)
        model.graph.node.remove(addition)


def _drop_unused_constants(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.value_info[:]


def _rename(model: ModelProto) -> None:
    """Name nodes and tensors by kind and number, so that no name tells of the program that trained them."""
    outside = {tensor.name for tensor in (*model.graph.input, *model.graph.output)}
    names: dict[str, str] = {}
    counts: dict[str, int] = {}
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    for node in model.graph.node:
        kind = node.op_type.lower()
        counts[kind] = counts.get(kind, 0) + 1
        node.name = f"{kind}_{counts[kind]}"
        for i, name in enumerate(node.input):
            if name in constants and name not in names:
                names[name] = f"{node.name}_{_role(node, i)}"
        for i, name in enumerate(node.output):
            names[name] = node.name if i == 0 else f"{node.name}_{i}"
        node.input[:] = [name if name in outside else names.get(name, name) for name in node.input]
        node.output[:] = [name if name in outside else names[name] for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]


def _role(node: NodeProto, position: int) -> str:
    if node.op_type in {"Conv", "Gemm", "MatMul"}:
        return ("input", "weights", "bias")[position]
    return "shape" if node.op_type == "Reshape" else f"constant_{position}"


def _nodes(model: ModelProto, kind: str) -> Iterator[NodeProto]:
    """Yield the nodes of a kind; the graph may change meanwhile."""
    for node in list(model.graph.node):
        if node.op_type == kind:
            yield node


def _constant(model: ModelProto, name: str) -> NDArray[Any] | None:
    for tensor in model.graph.initializer:
        if tensor.name == name:
            return numpy_helper.to_array(tensor)
    return None


def _set_constant(model: ModelProto, node: NodeProto, position: int, value: NDArray[np.float32]) -> None:
    """Give one node's input a value of its own; another node may share the old one."""
    name = f"{node.input[position]}_lean"
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    node.input[position] = name


def _only_consumer(model: ModelProto, name: str) -> NodeProto | None:
    consumers = [node for node in model.graph.node if name in node.input]
    is_output = any(tensor.name == name for tensor in model.graph.output)
    return consumers[0] if len(consumers) == 1 and not is_output else None


def _bypass(model: ModelProto, node: NodeProto, value: str) -> None:
    """Remove a node and hand `value` to those that took its output."""
    if any(tensor.name == node.output[0] for tensor in model.graph.output):
        return
    for other in model.graph.node:
        other.input[:] = [value if name == node.output[0] else name for name in other.input]
    model.graph.node.remove(node)


def _shapes(model: ModelProto) -> dict[str, list[int | None]]:
    inferred = onnx.shape_inference.infer_shapes(model)
    return {
        info.name: [
            dim.dim_value if dim.HasField("dim_value") else None for dim in info.type.tensor_type.shape.dim
        ]
        for info in inferred.graph.value_info
    }
