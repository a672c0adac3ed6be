"""Latency of ONNX graphs on one thread of this CPU."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.export.predictor import Predictor, onnx_predictor

BATCHES_IMAGES = (1, 8, 64)
_ROUNDS = 15
_ROUND_SECONDS = 0.05
_RATIO_ROUNDS = 150
_RATIO_IMAGES = 64


@dataclass(frozen=True)
class Latency:
    """Time of one call with a batch of images, on one thread.

    `p10_seconds` is what the graph needs on an idle core; the other quantiles also measure the machine's
    other load.
    """

    batch_images: int
    p10_seconds: float
    median_seconds: float
    p95_seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of calls made one after another on an idle core."""
        return self.batch_images / self.p10_seconds


def measure_latency(model: Path, images: NDArray[np.uint8]) -> tuple[Latency, ...]:
    """Time an ONNX model on one thread with batches of test images [n, 784]."""
    predict = onnx_predictor(model, threads=1)
    batches = {size: np.resize(images, (size, images.shape[1])) for size in BATCHES_IMAGES}
    seconds: dict[int, list[float]] = {size: [] for size in BATCHES_IMAGES}
    for batch in batches.values():
        _seconds(predict, batch, 3)
    # Batch sizes alternate, so that a busy moment of the machine affects all of them.
    for _ in range(_ROUNDS):
        for size, batch in batches.items():
            ends = time.perf_counter() + _ROUND_SECONDS
            seconds[size].append(_seconds(predict, batch))
            while time.perf_counter() < ends:
                seconds[size].append(_seconds(predict, batch))
    return tuple(
        Latency(size, *(float(quantile) for quantile in np.quantile(times, (0.1, 0.5, 0.95))))
        for size, times in seconds.items()
    )


def speed_ratio(slow: Path, fast: Path, images: NDArray[np.uint8], batch_images: int) -> float:
    """Return the time of graph `slow` over the time of `fast`, for batches of uint8 images [n, 784].

    The two alternate and the shortest round of each counts: other programs only ever make a round longer.
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
