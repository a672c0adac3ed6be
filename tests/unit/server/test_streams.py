"""Streams of requests: order, bounds and ends."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, cast

import pytest

from server.calls import Context
from server.errors import InvalidRequestError, UnavailableError
from server.streams import answer_in_order


class Stream:
    """Both ends of a stream of numbers; the caller reads an answer only when `reading` is set."""

    def __init__(self, count: int) -> None:
        self.count = count
        self.read = 0
        self.written: list[int] = []
        self.reading = asyncio.Event()
        self.reading.set()
        self.closing = asyncio.Event()

    async def requests(self) -> AsyncIterator[int]:
        for number in range(self.count):
            self.read += 1
            yield number

    async def write(self, answer: int) -> None:
        await self.reading.wait()
        self.written.append(answer)

    async def serve(self, answer: Callable[[int], Awaitable[int]], window: int = 4) -> None:
        def begin(number: int) -> asyncio.Future[int]:
            return asyncio.ensure_future(answer(number))

        await answer_in_order(
            self.requests(),
            cast("Context", self),
            begin,
            lambda _, answer: answer,
            self.closing,
            window=window,
        )


async def settle(rounds: int = 100) -> None:
    for _ in range(rounds):
        await asyncio.sleep(0)


async def test_answers_keep_the_order_of_the_requests_whichever_is_ready_first() -> None:
    stream = Stream(10)

    async def late_when_early(number: int) -> int:
        for _ in range(10 - number):
            await asyncio.sleep(0)
        return number

    await stream.serve(late_when_early)
    assert stream.written == list(range(10))


async def test_requests_of_one_stream_are_under_way_together_up_to_the_window() -> None:
    stream, under_way, peaks = Stream(10), 0, []

    async def answer(number: int) -> int:
        nonlocal under_way
        under_way += 1
        peaks.append(under_way)
        await settle(5)
        under_way -= 1
        return number

    await stream.serve(answer, window=4)
    assert max(peaks) == 4


async def test_caller_that_does_not_read_is_not_read_either() -> None:
    stream = Stream(1000)
    stream.reading.clear()

    async def answer(number: int) -> int:
        return number

    task = asyncio.create_task(stream.serve(answer, window=4))
    await settle()
    assert stream.read <= 5
    stream.reading.set()
    await task
    assert stream.written == list(range(1000))


async def test_first_error_ends_the_stream_after_the_answers_before_it() -> None:
    stream, cancelled = Stream(10), []

    async def answer(number: int) -> int:
        if number == 2:
            raise InvalidRequestError("two")
        try:
            await settle(5 if number < 2 else 10_000)
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    with pytest.raises(InvalidRequestError):
        await stream.serve(answer)
    assert stream.written == [0, 1]
    assert cancelled  # nothing of the stream goes on behind its back


async def test_cancelled_stream_cancels_what_is_under_way() -> None:
    stream, cancelled = Stream(10), []

    async def answer(number: int) -> int:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            cancelled.append(number)
            raise
        return number

    task = asyncio.create_task(stream.serve(answer, window=3))
    await settle()
    task.cancel()
    assert isinstance((await asyncio.gather(task, return_exceptions=True))[0], asyncio.CancelledError)
    assert sorted(cancelled) == [0, 1, 2]


async def test_failing_source_of_requests_is_reported() -> None:
    async def broken() -> AsyncIterator[int]:
        yield 1
        raise ConnectionError("gone")

    def begin(number: int) -> asyncio.Future[int]:
        future = asyncio.get_running_loop().create_future()
        future.set_result(number)
        return future

    context: Any = Stream(0)
    with pytest.raises(ConnectionError):
        await answer_in_order(broken(), context, begin, lambda _, answer: answer, asyncio.Event())
    assert context.written == [1]
    assert context.written == [1]


async def test_closed_stream_answers_what_is_under_way_and_ends() -> None:
    class Idle(Stream):
        async def requests(self) -> AsyncIterator[int]:
            yield 1
            await asyncio.Event().wait()

    stream, going_on = Idle(0), asyncio.Event()

    async def answer(number: int) -> int:
        await going_on.wait()
        return number

    task = asyncio.create_task(stream.serve(answer))
    await settle()
    stream.closing.set()
    await settle()
    going_on.set()
    with pytest.raises(UnavailableError, match="the server is stopping"):
        await task
    assert stream.written == [1]
