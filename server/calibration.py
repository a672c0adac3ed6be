"""How long a model takes for some images, measured on the machine that serves it, and what follows."""

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.manifest import IMAGE_BYTES

RUNS = 7
# Smaller runs never pay: a busy machine makes long ones look worse than they are.
SMALLEST_RUN_IMAGES = 8
# Past it, a larger batch spares next to nothing of the work around the model, and blocks for longer.
ENOUGH_IMAGES = 256
# A batch blocks everything else for as long as it takes.
MAX_BATCH_SECONDS = 0.025

Predict = Callable[[NDArray[np.uint8]], object]


@dataclass(frozen=True, slots=True)
class Measured:
    """The shortest of several durations of a run: what is longer, other programs caused."""

    images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput at this size."""
        return self.images / self.seconds


def measure(predict: Predict, sizes: Iterable[int]) -> list[Measured]:
    """Time `predict` for noise of each of the increasing `sizes`, in images.

    It stops at the first run that takes longer than MAX_BATCH_SECONDS.
    """
    table: list[Measured] = []
    for size in sizes:
        images = np.random.default_rng(0).integers(0, 256, (size, IMAGE_BYTES), np.uint8)
        predict(images)  # the first run of a size plans its memory
        table.append(Measured(size, min(_seconds(predict, images) for _ in range(RUNS))))
        if table[-1].seconds > MAX_BATCH_SECONDS:
            break
    return table


def best_run(table: list[Measured]) -> Measured:
    """Return the size with the best throughput of those that are quick enough.

    It is at least SMALLEST_RUN_IMAGES, if such a run is quick enough.
    """
    quick = [each for each in table if each.seconds <= MAX_BATCH_SECONDS] or table[:1]
    candidates = [each for each in quick if each.images >= SMALLEST_RUN_IMAGES] or quick[-1:]
    return max(candidates, key=lambda each: each.images_per_second)


def best_batch(run: Measured) -> int:
    """Return how many images to batch when they are run in parts of the best size.

    As many as spare the work around the model, in whole runs, as long as that is quick enough.
    """
    runs = max(1, ENOUGH_IMAGES // run.images)
    while runs > 1 and runs * run.seconds > MAX_BATCH_SECONDS:
        runs //= 2
    return runs * run.images


def _seconds(predict: Predict, images: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    predict(images)
    return time.perf_counter() - started
