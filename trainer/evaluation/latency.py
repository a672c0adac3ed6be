"""How long the exported graph takes on this machine."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.prediction import Predictor, onnx_predictor

BATCHES_IMAGES = (1, 8, 64)
_WARM_UP_CALLS = 3
_ROUNDS = 15
_ROUND_SECONDS = 0.05


@dataclass(frozen=True)
class Latency:
    """Time of one call with a batch of images, on one thread.

    A tenth of the calls took at most `p10_seconds`: what the graph needs when nothing else wants the core.
    The others say how much else did.
    """

    batch_images: int
    p10_seconds: float
    median_seconds: float
    p95_seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of undisturbed calls made one after another."""
        return self.batch_images / self.p10_seconds


def measure_latency(model_path: Path, images: NDArray[np.uint8]) -> tuple[Latency, ...]:
    """Time an ONNX model on one thread with batches of test images [n, 784]."""
    predict = onnx_predictor(model_path, threads=1)
    batches = {size: np.resize(images, (size, images.shape[1])) for size in BATCHES_IMAGES}
    seconds: dict[int, list[float]] = {size: [] for size in BATCHES_IMAGES}
    for batch in batches.values():
        for _ in range(_WARM_UP_CALLS):
            predict(batch)
    # Sizes take turns, so that a busy moment of the machine falls on all of them.
    for _ in range(_ROUNDS):
        for size, batch in batches.items():
            seconds[size].extend(_times(predict, batch))
    return tuple(
        Latency(size, *(float(quantile) for quantile in np.quantile(times, (0.1, 0.5, 0.95))))
        for size, times in seconds.items()
    )


def _times(predict: Predictor, batch: NDArray[np.uint8]) -> list[float]:
    """Call for a twentieth of a second, at least once; return what each call took."""
    times: list[float] = []
    began = ended = time.perf_counter()
    while ended - began < _ROUND_SECONDS:
        started = time.perf_counter()
        predict(batch)
        ended = time.perf_counter()
        times.append(ended - started)
    return times


def machine() -> str:
    """Return what the times were taken on, for people."""
    name = platform.processor() or platform.machine()
    try:
        with Path("/proc/cpuinfo").open(encoding="utf-8") as file:
            models = [line.split(":", 1)[1].strip() for line in file if line.startswith("model name")]
            name = models[0] if models else name
    except OSError:
        pass
    return f"{name}, {os.cpu_count()} CPUs"
