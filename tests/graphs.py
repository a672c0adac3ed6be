"""Graphs that fail for an image whose last eight pixels are 255."""

import numpy as np
import onnx
from onnx import GraphProto, NodeProto, TensorProto, helper, numpy_helper

from tests.conftest import linear_graph

TROUBLE = bytes(776) + bytes([255]) * 8


def raising_graph() -> bytes:
    """Raise: index 255 into a table of 255 rows."""
    return _changed(
        helper.make_node("Gather", ["table", "last"], ["nothing"]),
        helper.make_node("Add", ["logits", "nothing"], ["result"]),
        table=np.zeros(255, np.float32),
    )


def slow_graph(rounds: int) -> bytes:
    """Compute for a while: `rounds` of a loop for each such image."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go"], ["go_on"]),
            helper.make_node("Neg", ["sum"], ["next"]),
        ],
        "body",
        [
            helper.make_tensor_value_info("round", TensorProto.INT64, []),
            helper.make_tensor_value_info("go", TensorProto.BOOL, []),
            helper.make_tensor_value_info("sum", TensorProto.FLOAT, []),
        ],
        [
            helper.make_tensor_value_info("go_on", TensorProto.BOOL, []),
            helper.make_tensor_value_info("next", TensorProto.FLOAT, []),
        ],
    )
    return _changed(
        helper.make_node("Div", ["last", "most"], ["trouble"]),
        helper.make_node("ReduceSum", ["trouble"], ["many"], keepdims=0),
        helper.make_node("Mul", ["many", "rounds"], ["trips"]),
        helper.make_node("Loop", ["trips", "", "zero"], ["sum"], body=body),
        helper.make_node("Add", ["logits", "sum"], ["result"]),
        most=np.array(255, np.int64),
        rounds=np.array(rounds, np.int64),
        zero=np.array(0, np.float32),
    )


def forgetful_graph() -> bytes:
    """Omit the rows of such images."""
    return _changed(
        helper.make_node("Less", ["last", "most"], ["kept"]),
        helper.make_node("Squeeze", ["kept", "column"], ["mask"]),
        helper.make_node("Compress", ["logits", "mask"], ["result"], axis=0),
        most=np.array(255, np.int64),
        column=np.array([1], np.int64),
    )


def nan_graph() -> bytes:
    """Return NaN for such images."""
    return _changed(
        helper.make_node("Sub", ["most", "last"], ["distance"]),
        helper.make_node("Cast", ["distance"], ["number"], to=TensorProto.FLOAT),
        helper.make_node("Min", ["number", "one"], ["sign"]),
        helper.make_node("Div", ["sign", "sign"], ["nan"]),  # 0 / 0
        helper.make_node("Mul", ["logits", "nan"], ["result"]),
        most=np.array(255, np.int64),
        one=np.array(1, np.float32),
    )


def _changed(*nodes: NodeProto, **constants: np.ndarray) -> bytes:
    """Put nodes between `logits` and the softmax of `result`; `last` (N, 1) is the least last pixel."""
    model = onnx.load_from_string(linear_graph())
    graph: GraphProto = model.graph
    cast, matmul, softmax = graph.node
    del graph.node[:]
    softmax.input[0] = "result"
    graph.node.extend(
        [
            cast,
            matmul,
            helper.make_node("Slice", [cast.output[0], "begin", "end", "axis"], ["tail"]),
            helper.make_node("ReduceMin", ["tail"], ["darkest"], axes=[1]),
            helper.make_node("Cast", ["darkest"], ["last"], to=TensorProto.INT64),
            *nodes,
            softmax,
        ]
    )
    constants |= {"begin": np.array([776]), "end": np.array([784]), "axis": np.array([1])}
    graph.initializer.extend(numpy_helper.from_array(value, name) for name, value in constants.items())
    content: bytes = model.SerializeToString()
    return content
