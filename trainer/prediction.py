"""Ask a network, in Keras or in ONNX Runtime, about many images."""

import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError

Predictor = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From uint8 images [n, 784] to float32 probabilities [n, 10]."""

_KERAS_BATCH_IMAGES = 500
# Past 256 images the first convolution's output no longer fits a core's cache.
_ONNX_BATCH_IMAGES = 64

_PIXELS = 784
_DIGITS = 10
# Softmax in half precision still sums to 1 as closely as this.
_SUM_TOLERANCE = 1e-2
_HDF5_MAGIC = b"\x89HDF"
_ONNX_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


def load_model(path: Path) -> Predictor:
    """Return a function that asks the model in a file: ONNX, Keras (.keras), or HDF5 (.h5).

    A folder stands for the model.onnx in it. The model may take images in any shape of 784 numbers, as
    uint8 or float32, with pixels 0-255. Raises TrainerError when it cannot be loaded or takes something
    else; the function does when the answers are not probabilities.
    """
    if path.is_dir():
        path /= "model.onnx"
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5_MAGIC))
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}") from error
    is_keras = head.startswith(_HDF5_MAGIC) or zipfile.is_zipfile(path)
    return _checked(_load_keras(path) if is_keras else onnx_predictor(path), path)


def keras_predictor(network: Any) -> Predictor:
    """Return a function that asks a Keras network, compiled once."""
    from trainer.backend import tf  # noqa: PLC0415  # seconds to import, and an ONNX model needs none of it

    shape = network.input_shape[1:]
    signature = [tf.TensorSpec((None, *shape), tf.uint8)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def forward(images: Any) -> Any:
        return network(tf.cast(images, tf.float32), training=False)

    def run(batch: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers: NDArray[np.float32] = forward(batch.reshape(-1, *shape)).numpy()
        return answers

    return lambda images: _in_batches(run, images, _KERAS_BATCH_IMAGES)


def onnx_predictor(path: Path, threads: int = 0) -> Predictor:
    """Return a function that asks an ONNX model on the CPU, on all cores or on this many threads.

    Raises TrainerError when the file is no model, or one that does not take images.
    """
    import onnxruntime as ort  # noqa: PLC0415  # only needed once there is a model to run

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Threads that wait by spinning take twice the time on a shared machine, and win nothing here.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common class of their own
        raise TrainerError(f"{path}: cannot be loaded as an ONNX model: {_first_line(error)}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _ONNX_DTYPES:
        what = ", ".join(f"{tensor.name} {tensor.type}" for tensor in inputs)
        raise TrainerError(f"{path}: takes {what}, expected one tensor of uint8 or float")
    batch, *sizes = inputs[0].shape
    shape = _image_shape(path, sizes)
    if isinstance(batch, int):
        raise TrainerError(f"{path}: takes exactly {batch} images at a time, expected any number")
    name, dtype = inputs[0].name, _ONNX_DTYPES[inputs[0].type]

    def run(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = images.reshape(-1, *shape).astype(dtype, copy=False)
        answers: NDArray[np.float32] = session.run(None, {name: pixels})[0]
        return answers

    return lambda images: _in_batches(run, images, _ONNX_BATCH_IMAGES)


def _load_keras(path: Path) -> Predictor:
    from trainer.backend import keras  # noqa: PLC0415  # seconds to import

    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # anything may be wrong with a damaged archive
        raise TrainerError(f"{path}: cannot be loaded as a Keras model: {_first_line(error)}") from error
    _image_shape(path, network.input_shape[1:])
    return keras_predictor(network)


def _image_shape(path: Path, sizes: Sequence[Any]) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in sizes) or int(np.prod(sizes)) != _PIXELS:
        raise TrainerError(f"{path}: takes images of shape {list(sizes)}, expected {_PIXELS} numbers (28x28)")
    return tuple(sizes)


def _checked(predict: Predictor, path: Path) -> Predictor:
    def ask(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        answers = predict(images)
        if answers.shape != (len(images), _DIGITS):
            shape = list(answers.shape[1:])
            raise TrainerError(
                f"{path}: answers shape {shape} for each image, expected {_DIGITS} probabilities"
            )
        sums = answers.sum(axis=1)
        wrong = ~((np.abs(sums - 1) <= _SUM_TOLERANCE) & (answers >= 0).all(axis=1))
        if wrong.any():
            row = int(wrong.argmax())
            raise TrainerError(
                f"{path}: answers for image {row + 1} sum to {sums[row]:.3g}, "
                "expected probabilities (does the network end in softmax?)"
            )
        return answers

    return ask


def _first_line(error: Exception) -> str:
    return next(iter(str(error).splitlines()), type(error).__name__)


def _in_batches(run: Predictor, images: NDArray[np.uint8], size: int) -> NDArray[np.float32]:
    return np.concatenate([run(images[start : start + size]) for start in range(0, len(images), size)])
