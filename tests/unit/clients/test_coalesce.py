import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import pytest
from numpy.typing import NDArray

from clients import Client
from clients.coalesce import Coalescer
from clients.prediction import Prediction
from clients.testing import FakeServer
from clients.wire import Question

Digits = Callable[[int], NDArray[np.uint8]]


class Wire:
    """Calls that end when the test says so; an answer is the list of first pixels."""

    def __init__(self) -> None:
        self.calls: list[tuple[Question, list[int], Future]] = []

    def send(self, question: Question, images: NDArray[np.uint8]) -> Future:
        future: Future = Future()
        self.calls.append((question, images[:, 0].tolist(), future))
        return future

    def answer(self, index: int) -> None:
        _, pixels, future = self.calls[index]
        future.set_result(pixels)


@pytest.fixture
def wire() -> Wire:
    return Wire()


@pytest.fixture
def coalescer(wire: Wire) -> Coalescer[Future[list[Prediction]]]:
    return Coalescer(wire.send, Future, images_per_call=4, calls_in_flight=1)


def test_lone_caller_does_not_wait(wire: Wire, coalescer: Coalescer, digit_images: Digits) -> None:
    future = coalescer.ask(Question(), digit_images(2))
    wire.answer(0)
    assert future.result() == [0, 1]


def test_callers_who_come_while_a_call_travels_share_the_next(
    wire: Wire, coalescer: Coalescer, digit_images: Digits
) -> None:
    images = digit_images(6)
    futures = [coalescer.ask(Question(), images[n : n + 1]) for n in range(6)]
    assert [pixels for _, pixels, _ in wire.calls] == [[0]]
    wire.answer(0)
    assert wire.calls[1][1] == [1, 2, 3, 4]  # images_per_call
    wire.answer(1)
    wire.answer(2)
    assert [future.result() for future in futures] == [[n] for n in range(6)]


def test_different_questions_do_not_share(wire: Wire, coalescer: Coalescer, digit_images: Digits) -> None:
    for model in ("a", "b", "b", "a"):
        coalescer.ask(Question(model=model), digit_images(1))
    for index in range(3):
        wire.answer(index)
    assert [(question.model, len(pixels)) for question, pixels, _ in wire.calls] == [
        ("a", 1),
        ("b", 2),
        ("a", 1),
    ]


def test_cancelled_caller_is_left_out_and_disturbs_nobody(
    wire: Wire, coalescer: Coalescer, digit_images: Digits
) -> None:
    images = digit_images(4)
    futures = [coalescer.ask(Question(), images[n : n + 1]) for n in range(4)]
    futures[2].cancel()
    wire.answer(0)
    assert wire.calls[1][1] == [1, 3]
    futures[1].cancel()  # too late to leave the call
    wire.answer(1)
    assert futures[3].result() == [3]


def test_failed_call_fails_for_all_who_shared_it_and_no_other(
    wire: Wire, coalescer: Coalescer, digit_images: Digits
) -> None:
    futures = [coalescer.ask(Question(), digit_images(1)) for _ in range(3)]
    wire.answer(0)
    wire.calls[1][2].set_exception(ValueError("broken"))
    assert futures[0].result() == [0]
    assert [type(future.exception()) for future in futures[1:]] == [ValueError, ValueError]


def test_threads_share_calls_over_a_real_channel(fake: FakeServer, digit_images: Digits) -> None:
    images = digit_images(64)
    together = threading.Barrier(8)

    def ask(first: int) -> list[int]:
        together.wait()
        return [client.predict(images[n])[0].digit for n in range(first, 64, 8)]

    with Client(fake.address, coalesce=True, calls_in_flight=1) as client, ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(ask, range(8)))
    assert answers == [[n % 10 for n in range(first, 64, 8)] for first in range(8)]
    assert len(fake.requests) < 64


def test_closed_client_tells_everybody_and_never_hangs(fake: FakeServer, digit_images: Digits) -> None:
    client = Client(fake.address, coalesce=True, calls_in_flight=1)
    client.close()
    for _ in range(3):
        with pytest.raises(ValueError, match="closed"):
            client.predict(digit_images(1))
