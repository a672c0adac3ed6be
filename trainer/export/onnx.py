"""Export of Keras networks to ONNX, and graph passes.

Each pass matches one pattern, and leaves the function of the graph unchanged.
"""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, helper, numpy_helper

from trainer.backend import keras, tf
from trainer.data.dataset import DIGITS, PIXELS
from trainer.errors import TrainerError, first_line

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
# Supported by every maintained ONNX Runtime, and sufficient for all layers.
OPSET = 17
IR_VERSION = 8
ONLY_IN_TRAINING = (keras.layers.Dropout, keras.layers.SpatialDropout2D, keras.layers.GaussianNoise)
_MAPS = 4  # dimensions of feature maps: image, row, column, channel
_CONV, _DENSE = keras.layers.Conv2D, keras.layers.Dense
DOC = "Handwritten digits: uint8 28x28 images, row-major, 0 is background, to probabilities."


def export_onnx(network: Any, path: Path, metadata: dict[str, str]) -> None:
    """Write `network` as ONNX: `images` uint8 [N, 784] -> `probabilities` float32 [N, 10].

    The graph is verified by onnx.checker. Raises TrainerError if a layer has no ONNX form.
    """
    model = _convert(network)
    _name_output(model)
    for graph_pass in (
        _replace_erfc,
        _join_gemm,
        _drop_unused,
        _rename,
    ):
        graph_pass(model)
    finish(model, network.name, metadata)
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def finish(model: ModelProto, name: str, metadata: dict[str, str]) -> None:
    """Set the header of a model: versions, documentation, signature, metadata."""
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

    # One of its optimizers logs a traceback for some activations, without effect on the result.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    signature = [tf.TensorSpec((None, PIXELS), tf.uint8, name=INPUT_NAME)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def serve(images: Any) -> Any:
        return tf.identity(_call(network, tf.cast(images, tf.float32)), name=OUTPUT_NAME)

    try:
        converted, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
    except Exception as error:  # its handlers raise various types
        raise TrainerError(f"{network.name}: cannot be exported to ONNX: {first_line(error)}") from error
    model: ModelProto = converted
    # tf2onnx turns tensors outside of variables, such as Normalization's, into inputs.
    captures = serve.get_concrete_function().graph.captures
    captured = {placeholder.name: value.numpy for value, placeholder in captures}
    for tensor in list(model.graph.input):
        if tensor.name in captured:
            model.graph.input.remove(tensor)
            model.graph.initializer.append(numpy_helper.from_array(captured[tensor.name](), tensor.name))
    return model


def _call(network: Any, values: Any) -> Any:
    """Apply a network to float32 [n, 784] in a form that exports to fewer nodes."""
    layers = [layer for layer in network.layers if not isinstance(layer, ONLY_IN_TRAINING)]
    factor: float | None = None
    order: NDArray[np.int64] | None = None
    for position, layer in enumerate(layers):
        kinds = [type(each) for each in layers[position + 1 :]]
        reached = [kind for kind in kinds if kind is not keras.layers.Reshape]
        if isinstance(layer, keras.layers.Rescaling) and reached[:1] == [_CONV] and _is_factor(layer):
            # Convolutions are linear and pad with zeros, so a factor before one moves into its kernel.
            factor = layer.scale
        elif type(layer) is _CONV and factor is not None:
            values = _activate(layer, layer.convolution_op(values, layer.kernel * factor))
            factor = None
        elif isinstance(layer, keras.layers.Flatten) and kinds[:1] == [_DENSE] and values.shape.rank == _MAPS:
            # Keras flattens height, width, channels, ONNX channels, height, width: reordering the rows of the
            # next matrix saves a transposition.
            sizes = values.shape[1:]
            order = np.arange(np.prod(sizes)).reshape(sizes).transpose(2, 0, 1).ravel()
            values = tf.reshape(tf.transpose(values, (0, 3, 1, 2)), (-1, len(order)))
        elif type(layer) is _DENSE and order is not None:
            values = _activate(layer, tf.linalg.matmul(values, tf.gather(layer.kernel, order)))
            order = None
        elif isinstance(layer, keras.layers.Reshape | keras.layers.Flatten):
            # Keras's layer exports to Shape, Slice and Concat, as slow as a small convolution.
            values = tf.reshape(values, [-1, *(int(size) for size in layer.output.shape[1:])])
        else:
            values = layer(values)
    return values


def _is_factor(rescaling: Any) -> bool:
    return np.size(rescaling.scale) == 1 and not np.any(rescaling.offset)


def _activate(layer: Any, values: Any) -> Any:
    values = tf.nn.bias_add(values, layer.bias) if layer.use_bias else values
    return layer.activation(values)


def _name_output(model: ModelProto) -> None:
    """Rename the graph's only output, Identity:0 in tf2onnx."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [OUTPUT_NAME if name == old else name for name in names]
    model.graph.output[0].name = OUTPUT_NAME


def _replace_erfc(model: ModelProto) -> None:
    """Replace erfc(x), which TensorFlow uses in GELU and ONNX lacks, by 1 - erf(x)."""
    for node in _nodes(model, "Erfc"):
        result, erf, one = node.output[0], f"{node.name}_erf", f"{node.name}_one"
        model.graph.initializer.append(numpy_helper.from_array(np.array(1, np.float32), one))
        nodes = [helper.make_node("Erf", node.input, [erf]), helper.make_node("Sub", [one, erf], [result])]
        at = list(model.graph.node).index(node)
        model.graph.node.remove(node)
        for new in reversed(nodes):
            model.graph.node.insert(at, new)


def _join_gemm(model: ModelProto) -> None:
    """Replace (x @ w) + b by one Gemm."""
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
    """Rename nodes and tensors by operator and number."""
    if _has_subgraphs(model):
        return  # bodies of loops refer to outer tensors by name
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


def _only_consumer(model: ModelProto, name: str) -> NodeProto | None:
    consumers = [node for node in model.graph.node if name in node.input]
    is_output = any(tensor.name == name for tensor in model.graph.output)
    return consumers[0] if len(consumers) == 1 and not is_output else None
