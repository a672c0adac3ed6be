"""The served graph: Keras in, ONNX out, preprocessing included."""

import logging
from pathlib import Path
from typing import Any

import onnx
from onnx import helper

from trainer.backend import keras, tf
from trainer.lean import make_lean
from trainer.shapes import DIGITS, PIXELS

INPUT_NAME = "images"
OUTPUT_NAME = "probabilities"
# Old enough for every ONNX Runtime in support, new enough for all that the layers need.
OPSET = 17
IR_VERSION = 8


def export_onnx(network: Any, path: Path, metadata: dict[str, str]) -> None:
    """Write `network` as ONNX: `images` uint8 [N, 784] -> `probabilities` float32 [N, 10].

    The file is checked by onnx.checker before it is written.
    """
    import tf2onnx  # noqa: PLC0415  # slow to import

    # One of its optimizers gives up on some activations with a traceback; the graph is right nevertheless.
    logging.getLogger("tf2onnx").setLevel(logging.CRITICAL)
    signature = [tf.TensorSpec((None, PIXELS), tf.uint8, name=INPUT_NAME)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def serve(images: Any) -> Any:
        values = _static_forward(network, tf.cast(images, tf.float32))
        return tf.identity(values, name=OUTPUT_NAME)

    model, _ = tf2onnx.convert.from_function(serve, input_signature=signature, opset=OPSET)
    _name_output(model, OUTPUT_NAME)
    make_lean(model)
    model.ir_version = IR_VERSION
    model.producer_name = "digit-trainer"
    model.producer_version = ""
    model.doc_string = "Handwritten digits: uint8 28x28 images, row-major, 0 is background, to probabilities."
    model.graph.name = network.name
    helper.set_model_props(model, metadata)
    _shape(model.graph.input[0], ["N", PIXELS])
    _shape(model.graph.output[0], ["N", DIGITS])
    onnx.checker.check_model(model, full_check=True)
    path.write_bytes(model.SerializeToString())


def _static_forward(network: Any, values: Any) -> Any:
    """Run the layers with reshapes to fixed sizes.

    Keras's own Reshape and Flatten ask for the batch size at run time, which leaves a chain of Shape,
    Slice and Concat in the graph that costs as much as a small convolution at batch 1.
    """
    for layer in network.layers:
        if isinstance(layer, keras.layers.Reshape | keras.layers.Flatten):
            sizes = [int(size) for size in layer.output.shape[1:]]
            values = tf.reshape(values, [-1, *sizes])
        else:
            values = layer(values)
    return values


def _name_output(model: Any, name: str) -> None:
    """Give the graph's only output its name; tf2onnx calls it Identity:0."""
    old = model.graph.output[0].name
    for node in model.graph.node:
        for names in (node.input, node.output):
            names[:] = [name if entry == old else entry for entry in names]
    model.graph.output[0].name = name


def _shape(tensor: Any, sizes: list[str | int]) -> None:
    del tensor.type.tensor_type.shape.dim[:]
    for size in sizes:
        dim = tensor.type.tensor_type.shape.dim.add()
        if isinstance(size, str):
            dim.dim_param = size
        else:
            dim.dim_value = size
