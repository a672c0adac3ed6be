"""Hedging: a call that is not answered in time is sent a second time, within a budget."""

import threading
from collections.abc import Iterator

import pytest

from clients import AsyncClient, Client, Connection, ServerError
from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Digits


@pytest.fixture
def first_call_hangs(fake: FakeServer) -> Iterator[Connection]:
    """Hold the first call back until the test is over."""
    release, first = threading.Event(), threading.Lock()

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        if first.acquire(blocking=False):
            release.wait()
        return first_pixel(request)

    fake.answer = answer
    yield Connection(address=fake.address, timeout_seconds=60, hedge_seconds=0.05)
    release.set()


def test_second_call_answers_for_the_first(
    first_call_hangs: Connection, fake: FakeServer, digit_images: Digits
) -> None:
    with Client(first_call_hangs) as client:
        assert [p.digit for p in client.predict(digit_images(3))] == [0, 1, 2]
    assert len(fake.requests) == 2


async def test_second_call_answers_for_the_first_in_asyncio(
    first_call_hangs: Connection, fake: FakeServer, digit_images: Digits
) -> None:
    async with AsyncClient(first_call_hangs) as client:
        assert [p.digit for p in await client.predict(digit_images(3))] == [0, 1, 2]
    assert len(fake.requests) == 2


def test_quick_answer_is_not_hedged(fake: FakeServer, digit_images: Digits) -> None:
    with Client(Connection(address=fake.address, hedge_seconds=30)) as client:
        client.predict(digit_images(3))
    assert len(fake.requests) == 1


def test_hedges_have_a_budget(fake: FakeServer, digit_images: Digits) -> None:
    release = threading.Event()

    def hang(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        release.wait()
        return first_pixel(request)

    fake.answer = hang
    connection = Connection(address=fake.address, timeout_seconds=1, hedge_seconds=0.01)
    with Client(connection, images_per_call=1, calls_in_flight=40) as client, pytest.raises(ServerError):
        client.predict(digit_images(40))
    release.set()
    assert len(fake.requests) <= 40 + 10 + 4  # a burst of ten, and one for every ten calls
