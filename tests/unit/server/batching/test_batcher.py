"""The batcher, with an arithmetic model and a manual clock."""

import math
import threading
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.batching.batch import Predictor
from server.batching.batcher import MAX_BATCH_CALLS, OVERLOAD_BATCHES, Batcher
from server.batching.call_queue import Answer, QueuedCall
from server.batching.threaded import ThreadedBatcher
from server.errors import (
    ExpiredError,
    InvalidRequestError,
    ModelFailedError,
    OverloadedError,
    ServingError,
    UnavailableError,
)

POISON, NAN = 255, 254
WAIT_SECONDS = 30


class FirstPixelModel:
    """The digit is the image's first pixel modulo ten; 255 makes the model raise, 254 makes it answer NaN."""

    def __init__(self, clock: "Clock | None" = None, seconds_per_image: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self._clock = clock
        self._seconds_per_image = seconds_per_image

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = images[:, 0]
        self.batches.append(pixels.tolist())
        if self._clock is not None:
            self._clock.now += self._seconds_per_image * len(images)
        if (pixels == POISON).any():
            raise RuntimeError("poisoned image")
        probabilities = np.eye(10, dtype=np.float32)[pixels % 10] * 0.9 + 0.01
        probabilities[pixels == NAN] = np.nan
        return probabilities


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Recorder:
    """The metrics of one version, as plain numbers."""

    def __init__(self) -> None:
        self.images = self.calls = self.failures = 0
        self.reasons: Counter[str] = Counter()
        self.refusals: Counter[str] = Counter()
        self.drops: Counter[str] = Counter()

    def batch(  # noqa: PLR0913, PLR0917 - the facts of a batch
        self,
        digits: Sequence[int],
        confidences: NDArray[np.float32],
        ink_pixels: int,
        compute_seconds: float,
        reason: str,
        queue_seconds: Sequence[float],
    ) -> None:
        assert not np.isnan(confidences).any()
        assert len(digits) == len(confidences)
        assert ink_pixels >= 0
        assert compute_seconds >= 0
        self.images += len(digits)
        self.calls += len(queue_seconds)
        self.reasons[reason] += 1

    def failed(self, seconds: float) -> None:
        assert seconds >= 0
        self.failures += 1

    def rejected(self, reason: str) -> None:
        self.refusals[reason] += 1

    def dropped(self, reason: str) -> None:
        self.drops[reason] += 1


class Bench:
    """A batcher and the answers of its callers."""

    def __init__(
        self,
        max_batch_images: int = 8,
        max_queue_images: int = 1000,
        seconds_per_image: float = 0.0,
        model: Predictor | None = None,
    ) -> None:
        self.clock = Clock()
        self.model = model or FirstPixelModel(self.clock, seconds_per_image)
        self.metrics = Recorder()
        self.ready: set[Batcher] = set()
        self.batcher = Batcher(
            self.model,
            self.metrics,  # type: ignore[arg-type]  # as much of it as the batcher uses
            max_batch_images=max_batch_images,
            max_queue_images=max_queue_images,
            ready=self.ready,
            clock=self.clock,
        )
        self.outcomes: list[Answer | ServingError] = []

    @property
    def batches(self) -> list[list[int]]:
        assert isinstance(self.model, FirstPixelModel)
        return self.model.batches

    def submit(self, *pixels: int, seconds: float = math.inf, **more: Any) -> QueuedCall:
        return self.batcher.submit(
            images(*pixels), len(pixels), self.clock.now + seconds, self.outcomes.append, **more
        )

    def run(self) -> None:
        """Run batches until none is ready, as the data plane does."""
        while self.ready:
            self.batcher.run()

    @property
    def digits(self) -> list[list[int]]:
        assert all(isinstance(outcome, Answer) for outcome in self.outcomes), self.outcomes
        return [outcome.digits for outcome in self.outcomes if isinstance(outcome, Answer)]


def images(*pixels: int) -> bytes:
    return b"".join(bytes([pixel]) + bytes(783) for pixel in pixels)


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
    assert bench.metrics.drops == {"cancelled": 1}
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
    assert bench.metrics.failures == 1


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
    assert bench.metrics.failures == 1
    assert bench.batches == [[1, 2, NAN, 3], [7]]


def test_full_queue_refuses_a_call_that_does_not_fit_now() -> None:
    bench = Bench(max_queue_images=4)
    bench.submit(1, 2, 3)
    with pytest.raises(OverloadedError, match="the queue has 3 images and room for 4, the call has 2"):
        bench.submit(4, 5)
    bench.run()
    bench.submit(4, 5)
    bench.run()
    assert bench.digits == [[1, 2, 3], [4, 5]]
    assert bench.metrics.refusals == {"queue_full": 1}


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
    assert bench.metrics.drops == {"expired": 1}


def test_call_that_cannot_be_answered_in_time_is_refused_at_once() -> None:
    bench = Bench(seconds_per_image=0.1)
    bench.submit(1)
    bench.run()  # teaches it how long an image takes
    bench.submit(2)
    with pytest.raises(OverloadedError, match="too many to answer within the call's deadline"):
        bench.submit(*range(200), seconds=1)
    assert bench.metrics.refusals == {"deadline": 1}


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
    assert bench.metrics.drops == {"expired": 10}


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
    assert bench.metrics.reasons == {"full": 1, "quiet": 1, "idle": 1}
    assert (bench.metrics.images, bench.metrics.calls) == (7, 2)


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

    metrics: Any = Recorder()
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
