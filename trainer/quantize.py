"""A second artefact in 8-bit integers.

What the graph is made of is read here, and how large its activations get; `integer_graph` builds it anew.
"""

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

from trainer.errors import TrainerError
from trainer.export import IR_VERSION, OPSET
from trainer.integer_graph import BRIGHTEST, ORT_DOMAIN, Convolution, IntegerGraph, pooled_in_halves

# A few outliers may saturate; that costs less than the coarser steps that would hold them.
_PERCENTILE = 99.995
_CALIBRATION_BATCH_IMAGES = 200


def quantize(source: Path, target: Path, images: NDArray[np.uint8]) -> None:
    """Write the 8-bit form of an exported graph; `images` uint8 [n, 784] show how large activations get.

    Raises TrainerError when the graph is not a chain of convolutions with relu, pooled or not, that ends in
    one dense layer with softmax.
    """
    model = onnx.load(source)
    convolutions, dense = _chain(model, source)
    largest = _largest(model, [convolution.output for convolution in convolutions[1:]], images)
    graph = IntegerGraph()
    first, *others = convolutions
    scale = graph.first_of_halves(first) if pooled_in_halves(first) else graph.first_in_float(first)
    for convolution in others:
        after = np.array(largest[convolution.output] / BRIGHTEST)
        graph.convolve(convolution, scale, after)
        scale = after
    weights, bias = (_constant(model, name) for name in dense.input[1:])
    graph.dense(weights, bias, _shape(model, convolutions[-1].output), scale, model.graph.output[0].name)
    quantized = helper.make_model(
        helper.make_graph(
            graph.nodes, model.graph.name, list(model.graph.input), list(model.graph.output), graph.constants
        ),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ORT_DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name=model.producer_name,
        doc_string=model.doc_string,
    )
    helper.set_model_props(quantized, {entry.key: entry.value for entry in model.metadata_props})
    onnx.checker.check_model(quantized)
    target.write_bytes(quantized.SerializeToString())


def _chain(model: ModelProto, source: Path) -> tuple[list[Convolution], NodeProto]:
    """Return the convolutions with what follows each, and the dense layer behind them."""
    kinds = "".join(_LETTERS.get(node.op_type, "?") for node in model.graph.node)
    nodes = list(model.graph.node)
    if not kinds.startswith("tr") or not kinds.endswith("rgs"):
        raise _not_a_chain(source)
    convolutions: list[Convolution] = []
    i = 2
    while i < len(nodes) - 3:
        if kinds[i : i + 2] != "ca":
            raise _not_a_chain(source)
        pool = nodes[i + 2] if kinds[i + 2] == "p" else None
        weights, bias = (_constant(model, name).astype(np.float64) for name in nodes[i].input[1:])
        last = pool or nodes[i + 1]
        convolutions.append(
            Convolution(
                nodes[i].name,
                weights,
                bias,
                _attributes(nodes[i]),
                _attributes(pool) if pool else None,
                last.output[0],
            )
        )
        i += 3 if pool is not None else 2
    if len(convolutions) < 2:  # noqa: PLR2004  # with one there is nothing to quantize
        raise _not_a_chain(source)
    return convolutions, nodes[-2]


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
