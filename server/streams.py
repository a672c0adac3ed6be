"""A stream of requests, answered in order, with a bounded number under way."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import TypeVar

from server.calls import Context
from server.errors import UnavailableError

# Requests of one stream that are under way: enough to fill a batch.
STREAM_WINDOW = 64

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Response = TypeVar("Response")


async def answer_in_order(  # noqa: PLR0913 - two ends, two halves of an answer, two bounds
    requests: AsyncIterator[Request],
    context: Context,
    begin: Callable[[Request], asyncio.Future[Answer]],
    finish: Callable[[Request, Answer], Response],
    closing: asyncio.Event,
    *,
    window: int = STREAM_WINDOW,
) -> None:
    """Answer each request with what comes of `begin`, made a message by `finish`, in the order of the requests.

    Up to `window` of them are under way or wait to be sent; past it no more are read, so that a caller that
    does not read its answers holds back its own requests and nothing else.

    Once `closing` is set no more are read, what is under way is answered, and the stream ends: an idle one
    would hold up the server's stop.

    Raises:
        UnavailableError: the stream was closed.
        Exception: what `begin`, its future or `finish` raise; the first error, in the order of the requests,
            ends the stream.

    """
    pending: deque[tuple[Request, asyncio.Future[Answer]]] = deque()
    arrived, room = asyncio.Event(), asyncio.Event()

    async def read() -> None:
        async for request in requests:
            pending.append((request, begin(request)))
            arrived.set()
            while len(pending) >= window:
                room.clear()
                await room.wait()

    reader = asyncio.create_task(read())
    reader.add_done_callback(lambda _: arrived.set())
    closed = asyncio.create_task(closing.wait())
    closed.add_done_callback(lambda _: reader.cancel())
    try:
        while pending or not reader.done():
            while pending:
                request, future = pending[0]
                await context.write(finish(request, await future))
                pending.popleft()
                room.set()
            arrived.clear()
            if not reader.done():
                await arrived.wait()
        if reader.cancelled():
            raise UnavailableError("the server is stopping")
        reader.result()
    finally:
        closed.cancel()
        reader.cancel()
        under_way = [future for _, future in pending]
        for future in under_way:
            future.cancel()
        await asyncio.gather(reader, *under_way, return_exceptions=True)
