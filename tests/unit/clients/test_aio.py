"""What only the asyncio client does; test_client.py has the rest."""

import asyncio
from collections.abc import AsyncIterator

import numpy as np
import pytest_asyncio
from numpy.typing import NDArray

from clients import AsyncClient
from clients.testing import FakeServer
from tests.unit.clients.conftest import Digits


@pytest_asyncio.fixture
async def client(fake: FakeServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fake.address, images_per_call=4, calls_in_flight=2) as client:
        yield client


async def test_cancelled_task_does_not_disturb_others(client: AsyncClient, digit_images: Digits) -> None:
    tasks = [asyncio.ensure_future(client.predict_one(image)) for image in digit_images(4)]
    await asyncio.sleep(0)
    tasks[2].cancel()
    answers = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(answers[2], asyncio.CancelledError)
    assert [answers[n].digit for n in (0, 1, 3)] == [0, 1, 3]  # type: ignore[union-attr]  # no exceptions here


async def test_stream_answers_what_has_come_while_its_source_is_slow(
    client: AsyncClient, digit_images: Digits
) -> None:
    answered = asyncio.Event()

    async def slow() -> AsyncIterator[NDArray[np.uint8]]:
        yield digit_images(1)
        await answered.wait()  # one image is far from a full call
        yield digit_images(2)[1]

    digits = []
    async for answer in client.stream(slow()):
        digits.append(answer.digit)
        answered.set()
    assert digits == [0, 1]


async def test_watch_tells_of_every_change(client: AsyncClient, fake: FakeServer) -> None:
    states = client.watch("digits")
    assert await anext(states) == "unknown"
    fake.set_ready("digits", ready=True)
    assert await anext(states) == "ready"
    await states.aclose()
