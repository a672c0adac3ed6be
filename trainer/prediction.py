"""Ask a network, in Keras or in ONNX Runtime, about many images."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Predictor = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From uint8 images [n, 784] to float32 probabilities [n, 10]."""

_KERAS_BATCH_IMAGES = 500
# Past 256 images the first convolution's output no longer fits a core's cache.
_ONNX_BATCH_IMAGES = 64


def keras_predictor(network: Any) -> Predictor:
    """Return a function that asks a Keras network, compiled once."""
    from trainer.backend import tf  # noqa: PLC0415  # seconds to import, and an ONNX model needs none of it

    signature = [tf.TensorSpec((None, *network.input_shape[1:]), tf.uint8)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def forward(images: Any) -> Any:
        return network(tf.cast(images, tf.float32), training=False)

    return lambda images: _in_batches(lambda batch: forward(batch).numpy(), images, _KERAS_BATCH_IMAGES)


def onnx_predictor(path: Path) -> Predictor:
    """Return a function that asks an ONNX model on the CPU."""
    import onnxruntime as ort  # noqa: PLC0415  # only needed once there is a model to run

    session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return lambda images: _in_batches(
        lambda batch: session.run(None, {name: batch})[0], images, _ONNX_BATCH_IMAGES
    )


def _in_batches(run: Predictor, images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    return np.concatenate([run(images[start : start + size]) for start in range(0, len(images), size)])
