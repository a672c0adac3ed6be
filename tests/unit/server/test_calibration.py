"""Choosing how many images to run, and to batch, from measured durations."""

import numpy as np
from numpy.typing import NDArray

from server.calibration import MAX_BATCH_SECONDS, Measured, best_batch, best_run, measure


def table(**images_per_second: float) -> list[Measured]:
    return [Measured(int(size[1:]), int(size[1:]) / rate) for size, rate in images_per_second.items()]


def test_run_is_the_size_with_the_best_throughput() -> None:
    assert best_run(table(_1=12_000, _16=19_900, _32=17_500, _64=16_000)).images == 16


def test_run_is_not_small_because_small_ones_looked_better_on_a_busy_machine() -> None:
    assert best_run(table(_1=12_000, _4=15_700, _8=9_000, _16=10_400, _32=4_700)).images == 16


def test_run_that_blocks_for_too_long_is_not_chosen() -> None:
    slow = table(_1=100, _2=110, _4=200, _8=400)
    assert MAX_BATCH_SECONDS > 2 / 110
    assert best_run([*slow, Measured(16, 2 * MAX_BATCH_SECONDS)]).images == 8


def test_model_that_is_always_too_slow_runs_one_image_at_a_time() -> None:
    run = best_run(table(_1=10, _2=12))
    assert run.images == 1
    assert best_batch(run) == 1


def test_batch_is_several_runs() -> None:
    assert best_batch(Measured(16, 16 / 20_000)) == 256


def test_batch_is_not_smaller_than_its_run() -> None:
    assert best_batch(Measured(1024, 0.002)) == 1024


def test_batch_of_a_slow_model_is_as_many_runs_as_are_quick_enough() -> None:
    assert best_batch(Measured(8, MAX_BATCH_SECONDS / 2)) == 16


def test_sizes_are_measured_until_one_is_too_slow() -> None:
    shapes = []

    def predict(images: NDArray[np.uint8]) -> None:
        shapes.append(images.shape)

    measured = measure(predict, [1, 2, 8])
    assert [each.images for each in measured] == [1, 2, 8]
    assert set(shapes) == {(1, 784), (2, 784), (8, 784)}
    assert all(each.seconds > 0 for each in measured)
