"""A stream of requests, answered in order, with a bounded number under way."""

import asyncio
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
    # In the order of the requests; None after the last, or when reading failed.
    pending: asyncio.Queue[tuple[Request, asyncio.Future[Answer]] | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                pending.put_nowait((request, begin(request)))
        finally:
            pending.put_nowait(None)

    reader = asyncio.create_task(read())
    closed = asyncio.create_task(closing.wait())
    closed.add_done_callback(lambda _: reader.cancel())
    under_way: list[asyncio.Future[Answer]] = []
    try:
        while (entry := await pending.get()) is not None:
            request, future = entry
            under_way.append(future)
            await context.write(finish(request, await future))
            under_way.clear()
            room.release()
        await asyncio.wait([reader])
        if reader.cancelled():
            raise UnavailableError("the server is stopping")
        reader.result()
    finally:
        closed.cancel()
        reader.cancel()
        while not pending.empty():
            if (entry := pending.get_nowait()) is not None:
                under_way.append(entry[1])
        for future in under_way:
            future.cancel()
        await asyncio.gather(reader, *under_way, return_exceptions=True)
