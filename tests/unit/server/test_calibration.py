"""Choosing a batch size from measured durations."""

import numpy as np
from numpy.typing import NDArray

from server.calibration import MAX_BATCH_SECONDS, Measured, best_batch, measure


def table(**images_per_second: float) -> list[Measured]:
    return [Measured(int(size[1:]), int(size[1:]) / rate) for size, rate in images_per_second.items()]


def test_largest_batch_with_nearly_the_best_throughput_wins() -> None:
    assert best_batch(table(_1=12_000, _32=17_900, _64=17_500, _128=16_000)) == 64


def test_cap_is_not_small_because_small_batches_looked_better_on_a_busy_machine() -> None:
    assert best_batch(table(_1=12_000, _4=15_700, _16=10_400, _32=4_700, _64=5_200, _128=3_200)) == 64


def test_batch_that_blocks_for_too_long_is_not_chosen() -> None:
    slow = table(_1=100, _2=110, _4=200, _8=400)
    assert MAX_BATCH_SECONDS > 2 / 110
    assert best_batch([*slow, Measured(16, 2 * MAX_BATCH_SECONDS)]) == 8


def test_model_that_is_always_too_slow_runs_one_image_at_a_time() -> None:
    assert best_batch(table(_1=10, _2=12)) == 1


def test_every_size_up_to_the_largest_is_measured() -> None:
    sizes = set()

    def predict(images: NDArray[np.uint8]) -> None:
        sizes.add(images.shape)

    measured = measure(predict, 8)
    assert [each.batch_images for each in measured] == [1, 2, 4, 8]
    assert sizes == {(1, 784), (2, 784), (4, 784), (8, 784)}
    assert all(each.seconds > 0 for each in measured)
