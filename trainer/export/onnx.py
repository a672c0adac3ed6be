"""Export of a Keras network to ONNX, and the graph passes that make it smaller.

Each pass matches one pattern and leaves any other graph alone; none changes what the graph computes.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from trainer.backend import first_line, keras, tf
from trainer.data import DIGITS, PIXELS
from trainer.errors import TrainerError

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
# Old enough for every ONNX Runtime in support, new enough for all that the layers need.
OPSET = 17
IR_VERSION = 8
DOC = "Handwritten digits: uint8 28x28 images, row-major, 0 is background, to probabilities."


def export_onnx(network: Any, path: Path, metadata: dict[str, str]) -> None:
    """Write `network` as ONNX: `images` uint8 [N, 784] -> `probabilities` float32 [N, 10].

    onnx.checker verifies the graph before it is written. Raises TrainerError when a layer has no ONNX form.
    """
    model = _convert(network)
    _name_output(model)
    for graph_pass in (
        _replace_erfc,
        _drop_zero_additions,
        _fold_scale,
        _fold_transpose,
        _join_gemm,
        _drop_unused,
        _rename,
    ):
        graph_pass(model)
    finish(model, network.name, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def finish(model: ModelProto, name: str, metadata: dict[str, str]) -> None:
    """Give a model the header that every exported graph has: versions, documentation, signature, metadata."""
    model.ir_version = IR_VERSION
    model.producer_name, model.producer_version = "digit-trainer", ""
    model.doc_string = DOC
    model.graph.name = name
    helper.set_model_props(model, metadata)
    for tensor, size in ((model.graph.input[0], PIXELS), (model.graph.output[0], DIGITS)):
        dims = tensor.type.tensor_type.shape.dim
        del dims[:]
        dims.add().dim_param = "N"
        dims.add().dim_value = size


def _convert(network: Any) -> ModelProto:
    import tf2onnx  # noqa: PLC0415  # slow to import

    # One of its optimizers gives up on some activations with a traceback; the graph is right nevertheless.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    signature = [tf.TensorSpec((None, PIXELS), tf.uint8, name=INPUT_NAME)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def serve(images: Any) -> Any:
        values = tf.cast(images, tf.float32)
        for layer in network.layers:
            # Keras's own Reshape and Flatten leave a chain of Shape, Slice and Concat in the graph, which
            # costs as much as a small convolution at batch 1.
            if isinstance(layer, keras.layers.Reshape | keras.layers.Flatten):
                values = tf.reshape(values, [-1, *(int(size) for size in layer.output.shape[1:])])
            else:
                values = layer(values)
        return tf.identity(values, name=OUTPUT_NAME)

    try:
        converted, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
    except Exception as error:  # it raises whatever its handlers raise
        raise TrainerError(f"{network.name}: cannot be exported to ONNX: {first_line(error)}") from error
    model: ModelProto = converted
    # tf2onnx makes inputs of the tensors that a layer such as Normalization keeps outside of its variables.
    captures = serve.get_concrete_function().graph.captures
    captured = {placeholder.name: value.numpy for value, placeholder in captures}
    for tensor in list(model.graph.input):
        if tensor.name in captured:
            model.graph.input.remove(tensor)
            model.graph.initializer.append(numpy_helper.from_array(captured[tensor.name](), tensor.name))
    return model


def _name_output(model: ModelProto) -> None:
    """Name the graph's only output; tf2onnx calls it Identity:0."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [OUTPUT_NAME if name == old else name for name in names]
    model.graph.output[0].name = OUTPUT_NAME


def _replace_erfc(model: ModelProto) -> None:
    """Turn erfc(x), which TensorFlow makes of a GELU and ONNX does not have, into 1 - erf(x)."""
    for node in _nodes(model, "Erfc"):
        result, erf, one = node.output[0], f"{node.name}_erf", f"{node.name}_one"
        model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
        nodes = [helper.make_node("Erf", node.input, [erf]), helper.make_node("Sub", [one, erf], [result])]
        at = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        for new in reversed(nodes):
            model.graph.node.insert(at, new)


def _drop_zero_additions(model: ModelProto) -> None:
    """Remove x + 0, which Rescaling without an offset leaves behind."""
    for node in _nodes(model, "Add"):
        for value, other in (node.input, reversed(node.input)):
            constant = _constant(model, other)
            if constant is not None and constant.size == 1 and not constant.any():
                _bypass(model, node, value)
                break


def _fold_scale(model: ModelProto) -> None:
    """Turn conv(reshape(x * s)) into conv(reshape(x)) with the kernel times s.

    A convolution is linear and pads with zeros, so a factor before it is the same factor on its kernel.
    """
    for scale in _nodes(model, "Mul"):
        factor = _constant(model, scale.input[1])
        consumer = _only_consumer(model, scale.output[0])
        while consumer is not None and consumer.op_type == "Reshape":
            consumer = _only_consumer(model, consumer.output[0])
        if factor is None or factor.size != 1 or consumer is None or consumer.op_type != "Conv":
            continue
        kernel = _constant(model, consumer.input[1])
        if kernel is not None:
            _set_constant(model, consumer, 1, (kernel.astype(np.float64) * factor.item()).astype(np.float32))
            _bypass(model, scale, scale.input[0])


def _fold_transpose(model: ModelProto) -> None:
    """Turn reshape(transpose(x)) @ w into reshape(x) @ w with the rows of w in another order.

    Keras lays a feature map out as height, width, channels, ONNX as channels, height, width.
    """
    shapes = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for transpose in _nodes(model, "Transpose"):
        reshape = _only_consumer(model, transpose.output[0])
        product = _only_consumer(model, reshape.output[0]) if reshape is not None else None
        if reshape is None or product is None or (reshape.op_type, product.op_type) != ("Reshape", "MatMul"):
            continue
        if product.input[0] != reshape.output[0] or transpose.input[0] not in shapes:
            continue
        order = list(transpose.attribute[0].ints)
        dims = shapes[transpose.input[0]].type.tensor_type.shape.dim
        sizes = [dim.dim_value for dim in dims][1:]  # without the batch; 0 is unknown
        matrix, target = _constant(model, product.input[1]), _constant(model, reshape.input[1])
        flat = int(np.prod(sizes))
        if matrix is None or target is None or order[0] != 0 or not flat or target.tolist() != [-1, flat]:
            continue
        # positions[i] is the place, in the untransposed row, of element i of the transposed row.
        positions = np.arange(flat).reshape(sizes).transpose([axis - 1 for axis in order[1:]]).ravel()
        reordered = np.empty_like(matrix)
        reordered[positions] = matrix
        _set_constant(model, product, 1, reordered)
        _bypass(model, transpose, transpose.input[0])


def _join_gemm(model: ModelProto) -> None:
    """Turn (x @ w) + b into one Gemm."""
    shapes = {info.name: info for info in onnx.shape_inference.infer_shapes(model).graph.value_info}
    for product in _nodes(model, "MatMul"):
        matrix = _constant(model, product.input[1])
        addition = _only_consumer(model, product.output[0])
        if matrix is None or matrix.ndim != 2 or addition is None or addition.op_type != "Add":  # noqa: PLR2004  # a matrix
            continue
        rank = len(shapes[product.output[0]].type.tensor_type.shape.dim) if product.output[0] in shapes else 0
        bias = _constant(model, addition.input[1])
        if rank != matrix.ndim or bias is None or bias.shape != matrix.shape[1:]:
            continue
        inputs = [*product.input, addition.input[1]]
        product.CopyFrom(helper.make_node("Gemm", inputs, [addition.output[0]], name=product.name))
        model.graph.node.remove(addition)


def _drop_unused(model: ModelProto) -> None:
    used = {name for node in model.graph.node for name in node.input}
    kept = [tensor for tensor in model.graph.initializer if tensor.name in used or _has_subgraphs(model)]
    del model.graph.initializer[:]
    model.graph.initializer.extend(kept)
    del model.graph.value_info[:]


def _rename(model: ModelProto) -> None:
    """Name nodes and tensors by kind and number, free of the names of the program that trained them."""
    if _has_subgraphs(model):
        return  # the bodies of loops refer to the tensors outside by name
    names: dict[str, str] = {tensor.name: tensor.name for tensor in (*model.graph.input, *model.graph.output)}
    counts: dict[str, int] = {}
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        kind = node.op_type.lower()
        counts[kind] = counts.get(kind, 0) + 1
        node.name = f"{kind}_{counts[kind]}"
        for i, name in enumerate(node.input):
            if name in constants:
                names.setdefault(name, f"{node.name}_{_role(node, i)}")
        for i, name in enumerate(node.output):
            names.setdefault(name, node.name if i == 0 else f"{node.name}_{i}")
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names[name] if name else "" for name in node.output]
    for tensor in model.graph.initializer:
        tensor.name = names[tensor.name]


def _role(node: NodeProto, position: int) -> str:
    if node.op_type in {"Conv", "Gemm", "MatMul"}:
        return ("input", "weights", "bias")[position]
    return "shape" if node.op_type == "Reshape" else f"constant_{position}"


def _has_subgraphs(model: ModelProto) -> bool:
    return any(attribute.HasField("g") for node in model.graph.node for attribute in node.attribute)


def _nodes(model: ModelProto, kind: str) -> list[NodeProto]:
    return [node for node in model.graph.node if node.op_type == kind]


def _constant(model: ModelProto, name: str) -> NDArray[Any] | None:
    return next((numpy_helper.to_array(each) for each in model.graph.initializer if each.name == name), None)


def _set_constant(model: ModelProto, node: NodeProto, position: int, value: NDArray[np.float32]) -> None:
    """Give one node's input a value of its own; another node may share the old one."""
    name = f"{node.input[position]}_of_{node.name}"
    model.graph.initializer.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
    node.input[position] = name


def _only_consumer(model: ModelProto, name: str) -> NodeProto | None:
    consumers = [node for node in model.graph.node if name in node.input]
    is_output = any(tensor.name == name for tensor in model.graph.output)
    return consumers[0] if len(consumers) == 1 and not is_output else None


def _bypass(model: ModelProto, node: NodeProto, value: str) -> None:
    """Remove a node and connect its consumers to `value`."""
    if any(tensor.name == node.output[0] for tensor in model.graph.output):
        return
    for other in model.graph.node:
        other.input[:] = [value if name == node.output[0] else name for name in other.input]
    model.graph.node.remove(node)
