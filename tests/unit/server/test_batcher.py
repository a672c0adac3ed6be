"""The batcher, with a model that is arithmetic."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from server.batcher import LONG_YIELD_SECONDS, MAX_BATCH_CALLS, QUIET_ROUNDS, SELFISH_SECONDS, Batcher
from server.errors import ExpiredError, ModelFailedError, OverloadedError, UnavailableError
from server.metrics import Metrics
from server.queued import Answer

POISON = 255


class FirstPixelModel:
    """The digit is the image's first pixel modulo ten; a pixel of 255 makes the model raise."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        assert images.shape[1] == 784
        pixels = images[:, 0]
        self.batches.append(pixels.tolist())
        if (pixels == POISON).any():
            raise RuntimeError("poisoned image")
        return np.eye(10, dtype=np.float32)[pixels % 10] * 0.9 + 0.01


def images(*pixels: int) -> bytes:
    return b"".join(bytes([pixel]) + bytes(783) for pixel in pixels)


@asynccontextmanager
async def batching(
    model: FirstPixelModel,
    metrics: Metrics | None = None,
    max_batch_images: int = 8,
    max_queue_images: int = 1000,
    inline: bool = True,
) -> AsyncIterator[Batcher]:
    recorder = (metrics or Metrics()).loaded("digits", 1)
    batcher = Batcher(
        model, recorder, max_batch_images=max_batch_images, max_queue_images=max_queue_images, inline=inline
    )
    yield batcher
    await batcher.close()


async def digits(batcher: Batcher, *pixels: int, **limits: float) -> list[int]:
    return (await batcher.submit(images(*pixels), len(pixels), **limits)).digits


async def test_concurrent_callers_share_a_batch() -> None:
    model = FirstPixelModel()
    async with batching(model) as batcher:
        assert await asyncio.gather(*(digits(batcher, pixel) for pixel in range(4))) == [[0], [1], [2], [3]]
    assert model.batches == [[0, 1, 2, 3]]


async def test_batch_is_of_so_many_calls_at_most() -> None:
    model, metrics = FirstPixelModel(), Metrics()
    async with batching(model, metrics, max_batch_images=200, max_queue_images=200) as batcher:
        await digits(batcher, *[1] * (MAX_BATCH_CALLS + 1))  # one call of many images is one call
        await asyncio.gather(*(digits(batcher, 1) for _ in range(MAX_BATCH_CALLS + 1)))
    assert [len(batch) for batch in model.batches] == [MAX_BATCH_CALLS + 1, MAX_BATCH_CALLS, 1]
    metrics.flush()
    assert metrics.registry.get_sample_value("digits_batches_total", {"release_reason": "full"}) == 1


async def test_large_call_is_split_and_reassembled_in_order() -> None:
    model = FirstPixelModel()
    async with batching(model, max_batch_images=4) as batcher:
        answer = await batcher.submit(images(*range(10)), 10)
    assert answer.digits == list(range(10))
    assert answer.confidences == pytest.approx([0.91] * 10)
    assert np.concatenate(answer.probabilities).shape == (10, 10)
    assert [len(batch) for batch in model.batches] == [4, 4, 2]


async def test_cancelled_caller_does_not_fail_its_batch() -> None:
    model = FirstPixelModel()
    async with batching(model) as batcher:
        tasks = [asyncio.create_task(digits(batcher, pixel)) for pixel in range(3)]
        await asyncio.sleep(0)  # all three are queued
        tasks[1].cancel()
        first, cancelled, last = await asyncio.gather(*tasks, return_exceptions=True)
        assert (first, last) == ([0], [2])
        assert isinstance(cancelled, asyncio.CancelledError)
        assert batcher.queued_images == batcher.inflight_images == 0
    assert model.batches == [[0, 2]]


async def test_failing_call_fails_alone() -> None:
    async with batching(FirstPixelModel()) as batcher:
        good, bad, also_good = await asyncio.gather(
            digits(batcher, 1), digits(batcher, POISON), digits(batcher, 3), return_exceptions=True
        )
        assert (good, also_good) == ([1], [3])
        assert isinstance(bad, ModelFailedError)
        assert "poisoned" not in str(bad)
        assert await digits(batcher, 4) == [4]  # and the batcher goes on


async def test_full_queue_refuses_the_call_that_does_not_fit() -> None:
    metrics = Metrics()
    async with batching(FirstPixelModel(), metrics, max_queue_images=4) as batcher:
        waiting = asyncio.create_task(digits(batcher, 1, 2, 3))
        await asyncio.sleep(0)
        with pytest.raises(OverloadedError, match="the queue has 3 images and room for 4, the call brings 2"):
            await digits(batcher, 4, 5)
        assert await waiting == [1, 2, 3]
        assert await digits(batcher, 4, 5) == [4, 5]
    assert metrics.registry.get_sample_value("digits_rejected_total", {"reason": "queue_full"}) == 1


async def test_refused_caller_is_told_to_wait_as_long_as_the_queue_takes() -> None:
    waits = []
    for queued in (100, 200):
        async with batching(FirstPixelModel(), max_queue_images=200) as batcher:
            await digits(batcher, 1)  # teaches the batcher how long an image takes
            batcher._seconds_per_image = 0.001
            batcher.submit(images(*range(queued)), queued)
            with pytest.raises(OverloadedError) as caught:
                batcher.submit(images(*range(200)), 200)
            waits.append(caught.value.retry_seconds)
    assert waits == pytest.approx([0.1, 0.2])


async def test_call_that_is_there_before_the_batcher_runs_makes_no_wait_seem_long() -> None:
    async with batching(FirstPixelModel()) as batcher:
        first = batcher.submit(images(1), 1)
        await first
        assert batcher._seconds_per_image < 1


async def test_wait_is_predicted_with_the_work_around_the_model() -> None:
    async def busy() -> None:
        while True:
            time.sleep(0.002)  # noqa: ASYNC251 - what the loop does besides
            await asyncio.sleep(0)

    async with batching(FirstPixelModel(), max_batch_images=1) as batcher:
        other = asyncio.create_task(busy())
        await asyncio.gather(*[digits(batcher, 1) for _ in range(50)])
        other.cancel()
        assert batcher._seconds_per_image > 0.001


async def test_calls_that_are_on_their_way_are_seen_before_a_full_batch_runs() -> None:
    model = FirstPixelModel()
    async with batching(model, max_batch_images=1, max_queue_images=4) as batcher:
        refused = 0
        for pixel in range(40):
            try:
                batcher.submit(images(pixel % 10), 1)
            except OverloadedError:
                refused += 1
            for _ in range(3):  # as gRPC hands them over
                await asyncio.sleep(0)
    assert refused
    assert len(model.batches) == 40 - refused


async def test_expired_call_is_dropped_before_compute() -> None:
    model, metrics = FirstPixelModel(), Metrics()
    async with batching(model, metrics) as batcher:
        for seconds in (0.0, 1e-9):  # before it is queued, and in the queue
            with pytest.raises(ExpiredError):
                await digits(batcher, 1, remaining_seconds=seconds)
    assert model.batches == []
    assert metrics.registry.get_sample_value("digits_dropped_calls_total", {"reason": "expired"}) == 1


async def test_cancelled_callers_among_many_are_dropped_and_the_others_are_right() -> None:
    model, metrics = FirstPixelModel(), Metrics()
    async with batching(model, metrics, max_batch_images=64, max_queue_images=10_000) as batcher:
        futures = [batcher.submit(images(number % 10), 1) for number in range(10_000)]
        for future in futures[::10]:
            future.cancel()
        answers = await asyncio.gather(*futures, return_exceptions=True)
    assert sum(len(batch) for batch in model.batches) == 9000
    assert all(isinstance(answer, asyncio.CancelledError) for answer in answers[::10])
    for number, answer in enumerate(answers):
        if number % 10:
            assert isinstance(answer, Answer)
            assert answer.digits == [number % 10]
    assert metrics.registry.get_sample_value("digits_dropped_calls_total", {"reason": "cancelled"}) == 1000


async def test_call_that_cannot_be_answered_in_time_is_refused_at_once() -> None:
    metrics = Metrics()
    async with batching(FirstPixelModel(), metrics) as batcher:
        await digits(batcher, 1)  # teaches the batcher how long an image takes
        before = batcher.submit(images(2), 1)
        with pytest.raises(OverloadedError, match="too many to answer within the call's deadline"):
            await digits(batcher, *range(200), remaining_seconds=1e-6)
        await before
    assert metrics.registry.get_sample_value("digits_rejected_total", {"reason": "deadline"}) == 1


async def test_large_call_is_refused_where_its_batch_ends_too_late() -> None:
    async with batching(FirstPixelModel()) as batcher:
        batcher._seconds_per_image = 0.1
        before = batcher.submit(images(2), 1)
        batcher.submit(images(3), 1, remaining_seconds=3.0)
        with pytest.raises(OverloadedError):
            batcher.submit(images(*range(8)), 8, remaining_seconds=3.0)
        assert await digits(batcher, *range(8), remaining_seconds=3.5) == list(range(8))
        await before


async def test_a_batcher_that_stalled_once_takes_callers_again() -> None:
    async with batching(FirstPixelModel()) as batcher:
        batcher._seconds_per_image = 60.0  # what it believes after a pause of the whole machine
        for _ in range(200):  # each batch tells it better
            assert await digits(batcher, 3, remaining_seconds=5) == [3]
        assert batcher._seconds_per_image < 1


async def test_close_finishes_the_queue_and_refuses_new_calls() -> None:
    async with batching(FirstPixelModel()) as batcher:
        waiting = asyncio.create_task(digits(batcher, 1))
        await asyncio.sleep(0)
        await batcher.close()
        assert await waiting == [1]
        with pytest.raises(UnavailableError):
            await digits(batcher, 2)
        assert not batcher.alive


async def test_a_long_queue_does_not_hold_back_the_answers_of_the_first_batch() -> None:
    model = FirstPixelModel()
    async with batching(model, max_batch_images=1) as batcher:
        tasks = [asyncio.create_task(digits(batcher, pixel)) for pixel in range(9)]
        await tasks[0]
        assert len(model.batches) < 9
        await asyncio.gather(*tasks)


async def test_batches_are_recorded_with_what_released_them() -> None:
    metrics = Metrics()
    async with batching(FirstPixelModel(), metrics, max_batch_images=4) as batcher:
        await digits(batcher, *range(6))
        for _ in range(2 * QUIET_ROUNDS):
            await asyncio.sleep(0)  # until nobody is waited for any more
        await digits(batcher, 6)
    metrics.flush()
    value = metrics.registry.get_sample_value
    version = {"model": "digits", "version": "1"}
    assert value("digits_batches_total", {"release_reason": "full"}) == 1
    assert value("digits_batches_total", {"release_reason": "quiet"}) == 1
    assert value("digits_batches_total", {"release_reason": "idle"}) == 1
    assert value("digits_batch_images_sum", version) == 7
    assert value("digits_queue_duration_seconds_count", version) == 2  # calls, not batches
    assert value("digits_compute_duration_seconds_count", version) == 3
    assert value("digits_confidence_bucket", version | {"le": "0.95"}) == 7
    assert value("digits_predictions_total", version | {"digit": "3"}) == 1
    assert value("digits_ink_ratio_sum", version) == pytest.approx(6 / 784)  # one pixel each, and none of 0


@pytest.fixture(scope="module")
def event_loop_runner() -> Iterator[Callable[..., None]]:
    with asyncio.Runner() as runner:
        yield runner.run


call = st.tuples(
    st.lists(st.sampled_from([*range(10), POISON]), min_size=1, max_size=20),  # pixels
    st.booleans(),  # cancelled while queued
    st.integers(0, 3),  # rounds of the loop before it arrives
)


@settings(deadline=None, max_examples=150)
@given(calls=st.lists(call, max_size=12), cap=st.integers(1, 16), inline=st.booleans())
def test_every_caller_gets_its_own_rows_or_one_clear_error(
    event_loop_runner: Callable[..., None], calls: list[tuple[list[int], bool, int]], cap: int, inline: bool
) -> None:
    async def one(batcher: Batcher, pixels: list[int], cancelled: bool, rounds: int) -> object:
        for _ in range(rounds):
            await asyncio.sleep(0)
        task = asyncio.create_task(digits(batcher, *pixels))
        if cancelled:
            await asyncio.sleep(0)
            task.cancel()
        return (await asyncio.gather(task, return_exceptions=True))[0]

    async def scenario() -> None:
        async with batching(FirstPixelModel(), max_batch_images=cap, inline=inline) as batcher:
            results = await asyncio.gather(*(one(batcher, *each) for each in calls))
        assert batcher.queued_images == batcher.inflight_images == 0
        for (pixels, cancelled, _), result in zip(calls, results, strict=True):
            if cancelled:
                assert isinstance(result, asyncio.CancelledError)
            elif POISON in pixels:
                assert isinstance(result, ModelFailedError)
            else:
                assert result == pixels

    event_loop_runner(scenario())


async def test_core_that_another_program_wants_is_not_given_away_round_after_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    yields = 0

    def taken_by_another() -> None:
        nonlocal yields
        yields += 1
        time.sleep(2 * LONG_YIELD_SECONDS)

    monkeypatch.setattr("os.sched_yield", taken_by_another)
    model = FirstPixelModel()
    async with batching(model) as batcher:
        started = time.monotonic()
        for pixel in range(5):
            assert await digits(batcher, pixel) == [pixel]
        elapsed = time.monotonic() - started
    assert 1 <= yields <= 1 + elapsed / SELFISH_SECONDS  # and not QUIET_ROUNDS after every batch
