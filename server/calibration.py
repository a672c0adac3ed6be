"""How long a model takes for a batch, measured on the machine that serves it."""

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from server.manifest import IMAGE_BYTES

RUNS = 7
# Throughput this close to the best is as good; the larger batch spares more of the work around the model.
GOOD_ENOUGH = 0.95
# A smaller cap than this never pays: the work around a batch is shared by few, and a busy machine makes long
# batches look worse than they are.
SMALLEST_CAP_IMAGES = 32
# A batch blocks everything else for as long as it takes.
MAX_BATCH_SECONDS = 0.025


@dataclass(frozen=True, slots=True)
class Measured:
    """The shortest of several durations of a batch: what is longer, other programs caused."""

    batch_images: int
    seconds: float

    @property
    def images_per_second(self) -> float:
        """Throughput at this batch size."""
        return self.batch_images / self.seconds


def measure(predict: Callable[[NDArray[np.uint8]], object], largest: int) -> list[Measured]:
    """Time `predict` for batches of 1, 2, 4 ... up to `largest` images of noise.

    It stops at the first batch that takes longer than MAX_BATCH_SECONDS.
    """
    images = np.random.default_rng(0).integers(0, 256, (largest, IMAGE_BYTES), np.uint8)
    table: list[Measured] = []
    size = 1
    while size <= largest and (not table or table[-1].seconds <= MAX_BATCH_SECONDS):
        predict(images[:size])  # the first run of a size plans its memory
        table.append(Measured(size, min(_seconds(predict, images[:size]) for _ in range(RUNS))))
        size *= 2
    return table


def best_batch(table: list[Measured]) -> int:
    """Return the largest batch whose throughput is as good as the best of those that are quick enough.

    It is at least SMALLEST_CAP_IMAGES, if such a batch is quick enough.
    """
    quick = [each for each in table if each.seconds <= MAX_BATCH_SECONDS] or table[:1]
    candidates = [each for each in quick if each.batch_images >= SMALLEST_CAP_IMAGES] or quick[-1:]
    enough = GOOD_ENOUGH * max(each.images_per_second for each in candidates)
    return max(each.batch_images for each in candidates if each.images_per_second >= enough)


def _seconds(predict: Callable[[NDArray[np.uint8]], object], images: NDArray[np.uint8]) -> float:
    started = time.perf_counter()
    predict(images)
    return time.perf_counter() - started
