"""Predictors of Keras and ONNX models, their parity and latency."""

import os
import platform
import time
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import DIGITS, PIXELS
from trainer.errors import ParityError, TrainerError, first_line

Predictor = Callable[[NDArray[np.uint8]], NDArray[np.float32]]
"""From uint8 images [n, 784] to float32 probabilities [n, 10]."""

MAX_DIFFERENCE = 1e-4
"""Largest difference of a probability between Keras and the exported graph."""

_KERAS_BATCH_IMAGES = 500
# Past 256 images the first convolution's output no longer fits a core's cache.
_ONNX_BATCH_IMAGES = 64
# Softmax in half precision still sums to 1 within this.
_SUM_TOLERANCE = 1e-2
_HDF5_MAGIC = b"\x89HDF"
BATCHES_IMAGES = (1, 8, 64)
_ROUNDS = 15
_ROUND_SECONDS = 0.02
_RATIO_ROUNDS = 150
_RATIO_IMAGES = 64

_ONNX_DTYPES = {"tensor(uint8)": np.uint8, "tensor(float)": np.float32}


def load_model(path: Path) -> Predictor:
    """Return the predictor of a model file, ONNX, Keras (.keras) or HDF5 (.h5), or of a folder's model.onnx.

    The model may take images in any shape of 784 numbers, uint8 or float32, with pixels 0-255. Raises
    TrainerError for other files; the predictor raises it if the outputs are not probabilities.
    """
    path = path / "model.onnx" if path.is_dir() else path
    try:
        with path.open("rb") as file:
            head = file.read(len(_HDF5_MAGIC))
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}") from error
    is_keras = head.startswith(_HDF5_MAGIC) or zipfile.is_zipfile(path)
    predict = keras_predictor(load_network(path)) if is_keras else onnx_predictor(path)

    def checked(images: NDArray[np.uint8]) -> NDArray[np.float32]:
        probabilities = predict(images)
        if probabilities.shape != (len(images), DIGITS):
            shape = list(probabilities.shape[1:])
            raise TrainerError(
                f"{path}: returns shape {shape} for each image, expected {DIGITS} probabilities"
            )
        if (wrong := np.flatnonzero(~are_probabilities(probabilities))).size:
            row = int(wrong[0])
            raise TrainerError(
                f"{path}: the output for image {row + 1} sums to {probabilities[row].sum():.3g}, "
                "expected probabilities (does the network end in softmax?)"
            )
        return probabilities

    return checked


def load_network(path: Path) -> Any:
    """Return the Keras network in a file, ready to predict. Raises TrainerError."""
    from trainer.backend import keras  # noqa: PLC0415  # seconds to import, not needed for ONNX models

    try:
        network = keras.models.load_model(path, compile=False)
    except Exception as error:  # damaged archives raise various errors
        raise TrainerError(f"{path}: cannot be loaded as a Keras model: {first_line(error)}") from error
    _image_shape(path, network.input_shape[1:])
    return network


def keras_predictor(network: Any) -> Predictor:
    """Return the predictor of a Keras network, compiled once."""
    from trainer.backend import tf  # noqa: PLC0415  # seconds to import

    shape = network.input_shape[1:]
    signature = [tf.TensorSpec((None, *shape), tf.uint8)]

    @tf.function(input_signature=signature, autograph=False)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def forward(images: Any) -> Any:
        return network(tf.cast(images, tf.float32), training=False)

    return _in_batches(lambda images: forward(images.reshape(-1, *shape)).numpy(), _KERAS_BATCH_IMAGES)


def onnx_predictor(
    path: Path, threads: int = 0, content: bytes | None = None
) -> Callable[[NDArray[Any]], NDArray[np.float32]]:
    """Return the predictor of an ONNX model on the CPU, on all cores or `threads`.

    `content` replaces that of a file whose weights lie in other files. Images may be floats. Raises
    TrainerError if it is not a model of images; the predictor raises it if the model cannot be run.
    """
    import onnxruntime as ort  # noqa: PLC0415  # only needed once there is a model to run

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    # Spinning threads would double the time on a shared machine.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(content or path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions have no common base class
        raise TrainerError(f"{path}: cannot be loaded as an ONNX model: {first_line(error)}") from error
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _ONNX_DTYPES:
        found = ", ".join(f"{tensor.name} {tensor.type}" for tensor in inputs)
        raise TrainerError(f"{path}: takes {found}, expected one tensor of uint8 or float")
    shape = _image_shape(path, inputs[0].shape[1:])
    if isinstance(batch := inputs[0].shape[0], int):
        raise TrainerError(
            f"{path}: takes exactly {batch} images at a time, expected any number: "
            "export it with a dynamic batch dimension"
        )
    name, dtype = inputs[0].name, _ONNX_DTYPES[inputs[0].type]

    def run(images: NDArray[Any]) -> NDArray[np.float32]:
        pixels = images.reshape(-1, *shape).astype(dtype, copy=False)
        try:
            probabilities: NDArray[np.float32] = session.run(None, {name: pixels})[0]
        except Exception as error:  # as for loading
            raise TrainerError(f"{path}: cannot be run: {first_line(error)}") from error
        if np.shape(probabilities)[:1] != (len(images),):
            found = list(np.shape(probabilities))
            raise TrainerError(f"{path}: returns shape {found} for {len(images)} images")
        return probabilities

    return _in_batches(run, _ONNX_BATCH_IMAGES)


def are_probabilities(outputs: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Tell for each row of outputs [n, 10] whether it is probabilities."""
    sums_to_1: NDArray[np.bool_] = np.abs(outputs.sum(axis=1) - 1) <= _SUM_TOLERANCE
    return sums_to_1 & (outputs >= 0).all(axis=1)


def verify_parity(expected: NDArray[np.float32], exported: NDArray[np.float32]) -> float:
    """Compare probabilities [n, 10] of the trained network with those of the exported graph.

    Returns the largest difference. Raises ParityError if a digit differs, or a probability by more than 1e-4.
    """
    if expected.shape != exported.shape:
        raise ParityError(f"exported graph returns {exported.shape}, expected {expected.shape}")
    digits, exported_digits = expected.argmax(axis=1), exported.argmax(axis=1)
    if (wrong := np.flatnonzero(digits != exported_digits)).size:
        first = wrong[0]
        raise ParityError(
            f"exported graph: {wrong.size} of {len(digits)} digits differ; test image {first} is "
            f"{exported_digits[first]}, expected {digits[first]} as in Keras"
        )
    difference = np.abs(expected - exported)
    # Also true for NaN.
    if not (difference <= MAX_DIFFERENCE).all():
        row = int(np.nan_to_num(difference, nan=np.inf).max(axis=1).argmax())
        raise ParityError(
            f"exported graph: probabilities of test image {row} differ by {difference[row].max():.1e}, "
            f"expected at most {MAX_DIFFERENCE:.0e}"
        )
    return float(difference.max())


def measure_latency(model: Path, images: NDArray[np.uint8], prefix: str = "") -> dict[str, float]:
    """Time an ONNX model on one thread with batches of test images [n, 784].

    The keys are those of metrics.json, with a prefix. The 10th percentile approximates an idle core, and is
    the base of the throughput; higher quantiles include other load of the machine.
    """
    predict = onnx_predictor(model, threads=1)
    batches = {size: np.resize(images, (size, images.shape[1])) for size in BATCHES_IMAGES}
    seconds: dict[int, list[float]] = {size: [] for size in BATCHES_IMAGES}
    for batch in batches.values():
        _seconds(predict, batch, 3)
    # Batch sizes alternate, so that other load affects all of them.
    for _ in range(_ROUNDS):
        for size, batch in batches.items():
            ends = time.perf_counter() + _ROUND_SECONDS
            seconds[size].append(_seconds(predict, batch))
            while time.perf_counter() < ends:
                seconds[size].append(_seconds(predict, batch))
    table: dict[str, float] = {}
    for size, times in seconds.items():
        p10, median, p95 = (float(quantile) for quantile in np.quantile(times, (0.1, 0.5, 0.95)))
        table |= {
            f"{prefix}latency_batch_{size}_p10_seconds": p10,
            f"{prefix}latency_batch_{size}_median_seconds": median,
            f"{prefix}latency_batch_{size}_p95_seconds": p95,
            f"{prefix}throughput_batch_{size}_images_per_second": size / p10,
        }
    return table


def speed_ratio(slow: Path, fast: Path, images: NDArray[np.uint8], batch_images: int) -> float:
    """Return how many times as fast `fast` is as `slow`, on batches of uint8 images [n, 784].

    The graphs alternate, and the shortest round of each counts, since other load only lengthens rounds.
    """
    predictors = [onnx_predictor(path, threads=1) for path in (slow, fast)]
    batch = images[:batch_images]
    calls = max(1, _RATIO_IMAGES // batch_images)
    rounds = [[_seconds(predict, batch, calls) for predict in predictors] for _ in range(_RATIO_ROUNDS)]
    of_slow, of_fast = np.min(rounds, axis=0)
    return float(of_slow / of_fast)


def machine() -> str:
    """Return the CPU's name and the number of CPUs."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            name = next(
                (line.split(":", 1)[1].strip() for line in file if line.startswith("model name")), name
            )
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} CPUs"


def _seconds(predict: Predictor, batch: NDArray[np.uint8], calls: int = 1) -> float:
    started = time.perf_counter()
    for _ in range(calls):
        predict(batch)
    return time.perf_counter() - started


def _image_shape(path: Path, sizes: Sequence[Any]) -> tuple[int, ...]:
    if not all(isinstance(size, int) for size in sizes) or int(np.prod(sizes)) != PIXELS:
        raise TrainerError(f"{path}: takes images of shape {list(sizes)}, expected {PIXELS} numbers (28x28)")
    return tuple(sizes)


def _in_batches(run: Predictor, size: int) -> Predictor:
    return lambda images: np.concatenate([run(images[at : at + size]) for at in range(0, len(images), size)])
