"""Calls that the batcher refuses or drops: too many, or too late."""

import math

import pytest

from server.batching.batcher import MAX_BATCH_CALLS, OVERLOAD_BATCHES
from server.errors import ExpiredError, InvalidRequestError, OverloadedError
from server.observability.table import DROPPED, REJECTED
from tests.unit.server.batching.bench import Bench, FirstPixelModel


def test_full_queue_refuses_a_call_that_does_not_fit_now() -> None:
    bench = Bench(max_queue_images=4)
    bench.submit(1, 2, 3)
    with pytest.raises(OverloadedError, match="the queue has 3 images and room for 4, the call has 2"):
        bench.submit(4, 5)
    bench.run()
    bench.submit(4, 5)
    bench.run()
    assert bench.digits == [[1, 2, 3], [4, 5]]
    assert bench.counts(REJECTED) == {"queue_full": 1}


def test_call_that_can_never_fit_is_the_callers_mistake() -> None:
    with pytest.raises(InvalidRequestError, match="the call has 5 images, the queue has room for 4"):
        Bench(max_queue_images=4).submit(*range(5))


def test_refused_caller_is_told_to_wait_as_long_as_the_queue_takes() -> None:
    waits = []
    for queued in (100, 200):
        bench = Bench(max_queue_images=200, seconds_per_image=0.001)
        for _ in range(100):  # teach it how long an image takes
            bench.submit(1)
            bench.run()
        bench.submit(*[1] * queued)
        with pytest.raises(OverloadedError) as caught:
            bench.submit(*[1] * 150)
        waits.append(caught.value.retry_seconds)
    assert waits == pytest.approx([0.1, 0.2], rel=0.01)


def test_expired_call_is_dropped_before_compute() -> None:
    bench = Bench()
    with pytest.raises(ExpiredError):
        bench.submit(1, seconds=0)
    bench.submit(1, seconds=1)
    bench.clock.now += 2
    bench.run()
    assert [type(outcome) for outcome in bench.outcomes] == [ExpiredError]
    assert bench.batches == []
    assert bench.counts(DROPPED) == {"expired": 1}


def test_call_that_cannot_be_answered_in_time_is_refused_at_once() -> None:
    bench = Bench(seconds_per_image=0.1)
    bench.submit(1)
    bench.run()  # teaches it how long an image takes
    bench.submit(2)
    with pytest.raises(OverloadedError, match="too many to answer within the call's deadline"):
        bench.submit(*range(200), seconds=1)
    assert bench.counts(REJECTED) == {"deadline": 1}


def test_batcher_that_stalled_once_takes_calls_again() -> None:
    bench = Bench(seconds_per_image=60.0)
    bench.submit(1)
    bench.run()
    bench.model = bench.batcher._model = FirstPixelModel(bench.clock, 0.001)
    for _ in range(200):  # alone in the queue, a call always goes; each batch tells more
        bench.submit(3, seconds=5)
        bench.run()
    bench.submit(3, seconds=5)
    bench.submit(3, seconds=5)
    bench.run()


def overload(bench: Bench, seconds: float) -> int:
    """Queue more than two batches of calls, and return how many."""
    count = OVERLOAD_BATCHES * MAX_BATCH_CALLS + 10
    for number in range(count):
        bench.submit(number % 10, seconds=seconds)
    return count


def test_newest_calls_go_first_under_overload() -> None:
    bench = Bench(max_batch_images=64)
    count = overload(bench, seconds=0.05)
    bench.batcher.run()
    assert bench.batches[0] == [number % 10 for number in range(count - 1, count - 65, -1)]


def test_calls_without_a_deadline_are_served_in_order_of_arrival_under_overload_too() -> None:
    bench = Bench(max_batch_images=64)
    overload(bench, seconds=math.inf)
    bench.batcher.run()
    assert bench.batches[0] == [number % 10 for number in range(64)]


def test_no_call_with_less_than_a_batch_of_time_is_computed_under_overload() -> None:
    bench = Bench(max_batch_images=64, seconds_per_image=0.001)
    for _ in range(100):
        bench.submit(1)
        bench.run()
    late = [bench.submit(9, seconds=0.15) for _ in range(10)]
    bench.clock.now += 0.1  # 0.05 s are left, a batch takes 0.064 s
    overload(bench, seconds=math.inf)
    bench.run()
    assert all(isinstance(outcome, ExpiredError) for outcome in bench.outcomes[100:110])
    assert all(call.answered for call in late)
    assert bench.counts(DROPPED) == {"expired": 10}
