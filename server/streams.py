"""A stream of requests, answered in order, with a bounded number under way."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TypeVar

from server.calls import Context

Request = TypeVar("Request")
Response = TypeVar("Response")


async def answer_in_order(
    requests: AsyncIterator[Request],
    context: Context,
    answer: Callable[[Request], Awaitable[Response]],
    *,
    window: int,
) -> None:
    """Answer each request with what `answer` returns, in the order of the requests.

    Up to `window` of them are under way or wait to be sent; past it no more are read, so that a caller that
    does not read its answers holds back its own requests and nothing else.

    Raises whatever `answer` raises: the first error, in the order of the requests, ends the stream.
    """
    # Tasks in the order of the requests; None after the last, or when reading failed.
    pending: asyncio.Queue[asyncio.Task[Response] | None] = asyncio.Queue()
    room = asyncio.Semaphore(window)

    async def one(request: Request) -> Response:
        return await answer(request)

    async def read() -> None:
        try:
            async for request in requests:
                await room.acquire()
                pending.put_nowait(asyncio.create_task(one(request)))
        finally:
            pending.put_nowait(None)

    reader = asyncio.create_task(read())
    under_way: list[asyncio.Task[Response]] = []
    try:
        while (task := await pending.get()) is not None:
            under_way.append(task)
            await context.write(await task)
            under_way.clear()
            room.release()
        await reader
    finally:
        reader.cancel()
        while not pending.empty():
            if (task := pending.get_nowait()) is not None:
                under_way.append(task)
        for task in under_way:
            task.cancel()
        await asyncio.gather(reader, *under_way, return_exceptions=True)
