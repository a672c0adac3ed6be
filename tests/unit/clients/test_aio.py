import asyncio
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import grpc
import numpy as np
import pytest
import pytest_asyncio
from numpy.typing import NDArray
from PIL import Image

from clients import AsyncClient, Connection, InputError, ServerError
from clients.testing import FakeServer
from protos.digits.v1 import prediction_pb2

Digits = Callable[[int], NDArray[np.uint8]]


@pytest_asyncio.fixture
async def client(fake: FakeServer) -> AsyncIterator[AsyncClient]:
    async with AsyncClient(fake.address, images_per_call=4, calls_in_flight=2) as client:
        yield client


async def test_large_input_is_cut_into_calls_and_answered_in_order(
    client: AsyncClient, fake: FakeServer, digit_images: Digits
) -> None:
    answers = await client.predict(digit_images(23))
    assert [p.digit for p in answers] == [n % 10 for n in range(23)]
    assert sorted(len(request.images) // 784 for request in fake.requests) == [3, 4, 4, 4, 4, 4]


async def test_path_is_read(client: AsyncClient, digit_images: Digits, tmp_path: Path) -> None:
    Image.fromarray(digit_images(6)[5].reshape(28, 28)).save(tmp_path / "five.png")
    (answer,) = await client.predict(tmp_path / "five.png", probabilities=True)
    assert answer.digit == 5
    assert answer.probabilities is not None
    assert answer.timing.call_seconds > 0


async def test_stream_takes_what_is_awaited_and_reads_ahead_within_bounds(
    client: AsyncClient, digit_images: Digits
) -> None:
    taken = 0

    async def endless() -> AsyncIterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield digit_images(taken)[-1]
            await asyncio.sleep(0)

    digits = []
    answers = client.stream(endless())
    async for answer in answers:
        digits.append(answer.digit)
        if len(digits) == 30:
            break
    await answers.aclose()
    assert digits == [n % 10 for n in range(30)]
    assert taken <= 30 + 2 * 4


async def test_stream_takes_an_ordinary_list(client: AsyncClient, digit_images: Digits) -> None:
    assert [answer.digit async for answer in client.stream(list(digit_images(5)))] == [0, 1, 2, 3, 4]


async def test_refusal_and_bad_input_raise_what_client_raises(
    client: AsyncClient, fake: FakeServer, digit_images: Digits
) -> None:
    fake.failures.append((grpc.StatusCode.NOT_FOUND, "model 'x' is not known"))
    with pytest.raises(ServerError, match="refused: model 'x'") as caught:
        await client.predict(digit_images(1), model="x")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    with pytest.raises(InputError):
        await client.predict([])


async def test_unreachable_server_is_named_with_the_cause(digit_images: Digits) -> None:
    async with AsyncClient(Connection(address="127.0.0.1:1", attempts=1)) as client:
        with pytest.raises(ServerError, match=r"no server answers at 127\.0\.0\.1:1"):
            await client.predict(digit_images(1))


async def test_models_and_ready(client: AsyncClient, fake: FakeServer) -> None:
    fake.models = [prediction_pb2.Model(name="digits", version=3)]
    assert [model.name for model in await client.models()] == ["digits"]
    assert await client.ready()
    with pytest.raises(ServerError):
        await client.ready("no such service")


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
