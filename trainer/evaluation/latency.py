"""How long the exported graph takes on this machine."""

import os
import platform
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from trainer.prediction import onnx_predictor

BATCHES_IMAGES = (1, 8, 64)
_WARM_UP_CALLS = 3
_CALLS = 60
_BUDGET_SECONDS = 1.5


@dataclass(frozen=True)
class Latency:
    """Time of one call with a batch of images, on one thread."""

    batch_images: int
    median_seconds: float
    p95_seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput of calls made one after another."""
        return self.batch_images / self.median_seconds


def measure_latency(model_path: Path, images: NDArray[np.uint8]) -> tuple[Latency, ...]:
    """Time an ONNX model on one thread with batches of test images [n, 784]."""
    predict = onnx_predictor(model_path, threads=1)
    latencies = []
    for size in BATCHES_IMAGES:
        batch = np.resize(images, (size, images.shape[1]))
        for _ in range(_WARM_UP_CALLS):
            predict(batch)
        seconds: list[float] = []
        while len(seconds) < _CALLS and sum(seconds) < _BUDGET_SECONDS:
            started = time.perf_counter()
            predict(batch)
            seconds.append(time.perf_counter() - started)
        latencies.append(Latency(size, float(np.median(seconds)), float(np.quantile(seconds, 0.95))))
    return tuple(latencies)


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
