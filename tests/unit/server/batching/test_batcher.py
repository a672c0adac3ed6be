"""The batcher, with an arithmetic model and a manual clock."""

import math
import threading

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from server.batching.batcher import MAX_BATCH_CALLS
from server.batching.call_queue import Answer
from server.batching.threaded import ThreadedBatcher
from server.errors import (
    ExpiredError,
    InvalidRequestError,
    ModelFailedError,
    OverloadedError,
    ServingError,
    UnavailableError,
)
from server.observability.metrics import Metrics
from server.observability.table import BATCHES, DROPPED, FAILED, PREDICTIONS
from tests.unit.server.batching.bench import NAN, POISON, Bench, FirstPixelModel, images

WAIT_SECONDS = 30


def test_waiting_calls_share_a_batch() -> None:
    bench = Bench()
    for pixel in range(4):
        bench.submit(pixel)
    bench.batcher.run()
    assert bench.batches == [[0, 1, 2, 3]]
    assert bench.digits == [[0], [1], [2], [3]]
    assert not bench.ready


def test_batch_has_a_bounded_number_of_calls() -> None:
    bench = Bench(max_batch_images=200)
    bench.submit(*[1] * (MAX_BATCH_CALLS + 1))  # one call of many images is one call
    bench.run()
    for _ in range(MAX_BATCH_CALLS + 1):
        bench.submit(1)
    bench.run()
    assert [len(batch) for batch in bench.batches] == [MAX_BATCH_CALLS + 1, MAX_BATCH_CALLS, 1]


def test_large_call_is_split_and_reassembled_in_order() -> None:
    bench = Bench(max_batch_images=4)
    bench.submit(*range(10))
    bench.run()
    (answer,) = bench.outcomes
    assert isinstance(answer, Answer)
    assert answer.digits == list(range(10))
    assert answer.confidences == pytest.approx([0.91] * 10)
    assert answer.probabilities.shape == (10, 10)
    assert [len(batch) for batch in bench.batches] == [4, 4, 2]


def test_cancelled_call_is_not_computed_and_does_not_disturb_its_batch() -> None:
    bench = Bench()
    calls = [bench.submit(pixel) for pixel in range(3)]
    calls[1].cancelled = True
    bench.run()
    assert bench.batches == [[0, 2]]
    assert bench.digits == [[0], [2]]
    assert bench.counts(DROPPED) == {"cancelled": 1}
    assert bench.batcher.inflight_images == 0


def test_rest_of_a_split_call_that_is_cancelled_is_not_computed() -> None:
    bench = Bench(max_batch_images=4)
    call = bench.submit(*range(10))
    bench.batcher.run()
    call.cancelled = True
    bench.run()
    assert bench.batches == [[0, 1, 2, 3]]
    assert bench.outcomes == []
    assert bench.batcher.inflight_images == 0


def test_call_on_which_the_model_raises_fails_alone() -> None:
    bench = Bench()
    for pixel in (1, POISON, 3):
        bench.submit(pixel)
    bench.run()
    first, second, third = bench.outcomes
    assert isinstance(first, Answer)
    assert isinstance(third, Answer)
    assert isinstance(second, ModelFailedError)
    assert "poisoned" not in str(second)
    assert bench.metrics.read().total(FAILED) == 1


def test_call_for_which_the_model_answers_nan_fails_alone_and_is_not_counted_as_a_prediction() -> None:
    bench = Bench(max_batch_images=4)
    bench.submit(1)
    bench.submit(2, NAN, 3, 4, 5, 6)  # its first images, and those to come, are of no use
    bench.submit(7)
    bench.run()
    answer, error, other = bench.outcomes
    assert isinstance(answer, Answer)
    assert isinstance(error, ModelFailedError)
    assert isinstance(other, Answer)
    assert (answer.digits, other.digits) == ([1], [7])
    assert bench.metrics.read().total(FAILED) == 1
    assert bench.batches == [[1, 2, NAN, 3], [7]]
    assert bench.metrics.read().total(PREDICTIONS) == 4  # 1, 2, 3 and 7


def test_close_finishes_the_queue_and_refuses_new_calls() -> None:
    bench, released = Bench(), []
    bench.submit(1)
    bench.batcher.close(lambda: released.append(True))
    assert not released
    with pytest.raises(UnavailableError):
        bench.submit(2)
    bench.run()
    assert bench.digits == [[1]]
    assert released == [True]
    assert not bench.batcher.alive
    bench.batcher.close(lambda: released.append(False))  # again: nothing
    assert released == [True]


def test_held_calls_wait_until_released() -> None:
    bench = Bench()
    bench.batcher.hold()
    bench.submit(1)
    assert not bench.ready
    assert bench.batcher.inflight_images == 1
    bench.batcher.release()
    bench.run()
    assert bench.digits == [[1]]


def test_batches_are_recorded_with_what_released_them() -> None:
    bench = Bench(max_batch_images=4)
    bench.submit(*range(6))
    bench.run()
    bench.submit(6)
    bench.run()
    assert bench.counts(BATCHES) == {"full": 1, "quiet": 1, "idle": 1}
    assert bench.metrics.read().total(PREDICTIONS) == 7
    assert bench.metrics.statistics("digits", 1).calls == 2


def test_oldest_call_tells_how_long_it_has_waited() -> None:
    bench = Bench()
    assert bench.batcher.oldest_seconds == 0
    bench.submit(1)
    bench.clock.now += 3
    assert bench.batcher.oldest_seconds == 3


arrivals = st.lists(
    st.tuples(
        st.lists(st.sampled_from([*range(10), POISON, NAN]), min_size=1, max_size=20),  # pixels
        st.sampled_from([math.inf, 0.5, 3.0]),  # seconds until the deadline
        st.booleans(),  # cancelled while queued
        st.integers(0, 2),  # batches that run before the next call arrives
    ),
    max_size=200,
)


@settings(deadline=None, max_examples=200)
@given(calls=arrivals, cap=st.integers(1, 70), room=st.sampled_from([10, 40, 5000]))
def test_every_caller_gets_its_own_rows_once_or_one_clear_error(  # noqa: C901 - every kind of outcome
    calls: list[tuple[list[int], float, bool, int]], cap: int, room: int
) -> None:
    bench = Bench(max_batch_images=cap, max_queue_images=room, seconds_per_image=0.01)
    outcomes: list[list[Answer | ServingError]] = []
    for pixels, seconds, cancelled, batches in calls:
        told: list[Answer | ServingError] = []
        outcomes.append(told)
        try:
            call = bench.batcher.submit(images(*pixels), len(pixels), bench.clock.now + seconds, told.append)
        except ServingError as error:
            told.append(error)
        else:
            call.cancelled = cancelled
        for _ in range(batches):
            if bench.ready:
                bench.batcher.run()
    bench.run()
    assert bench.batcher.queued_images == bench.batcher.inflight_images == 0
    for (pixels, seconds, cancelled, _), told in zip(calls, outcomes, strict=True):
        if cancelled and not told:
            continue
        (outcome,) = told
        if isinstance(outcome, Answer):
            assert outcome.digits == pixels
        elif isinstance(outcome, ModelFailedError):
            assert POISON in pixels or NAN in pixels
        elif isinstance(outcome, InvalidRequestError):
            assert len(pixels) > room
        elif isinstance(outcome, ExpiredError):
            assert seconds < math.inf
        else:
            assert isinstance(outcome, OverloadedError)


def test_batcher_of_a_provider_that_computes_elsewhere_answers_on_its_own_thread() -> None:
    answered: dict[int, list[int]] = {}
    threads, done, released = set(), threading.Event(), threading.Event()

    def reply(number: int, outcome: Answer | ServingError) -> None:
        assert isinstance(outcome, Answer)
        answered[number] = outcome.digits
        threads.add(threading.current_thread())
        if len(answered) == 100:
            done.set()

    metrics = Metrics().loaded("digits", 1)
    batcher = ThreadedBatcher(FirstPixelModel(), metrics, max_batch_images=8, max_queue_images=1000)
    for number in range(100):
        batcher.submit(
            images(number % 10),
            1,
            math.inf,
            lambda outcome, number=number: reply(number, outcome),  # type: ignore[misc]
        )
    assert done.wait(WAIT_SECONDS)
    assert answered == {number: [number % 10] for number in range(100)}
    assert threads.isdisjoint({threading.main_thread()})
    batcher.close(released.set)
    assert released.wait(WAIT_SECONDS)
    with pytest.raises(UnavailableError):
        batcher.submit(images(1), 1, math.inf, lambda _: None)
