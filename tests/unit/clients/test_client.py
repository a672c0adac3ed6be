import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from clients import AsyncClient, Client, Connection, InputError, ServerError
from clients.testing import FakeServer
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Digits


class Awaited:
    """An AsyncClient whose methods wait, so that a test is one of both clients."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        self._client = AsyncClient(*arguments, **options)
        self._loop = asyncio.new_event_loop()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return lambda *arguments, **options: self._wait(getattr(self._client, name)(*arguments, **options))

    def _wait(self, result: Any) -> Any:
        return self._each(result) if hasattr(result, "__anext__") else self._loop.run_until_complete(result)

    def _each(self, results: Any) -> Iterator[Any]:
        try:
            while True:
                yield self._loop.run_until_complete(anext(results))
        except StopAsyncIteration:
            return
        finally:
            self._loop.run_until_complete(results.aclose())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._loop.close()


Kind = Callable[..., Any]


@pytest.fixture(params=[Client, Awaited])
def kind(request: pytest.FixtureRequest) -> Kind:
    """The blocking client, and the asyncio client."""
    made: Kind = request.param
    return made


@pytest.fixture
def client(fake: FakeServer, kind: Kind) -> Iterator[Client]:
    with kind(fake.address, images_per_call=4, calls_in_flight=2) as client:
        yield client


def test_prediction_carries_what_the_server_said(client: Client, digit_images: Digits) -> None:
    prediction = client.predict(digit_images(8))[7]
    assert (prediction.digit, prediction.confidence, prediction.probabilities) == (7, 0.75, None)
    assert (prediction.model, prediction.version) == ("digits", 3)
    assert prediction.timing.queue_seconds == 0.0001
    assert prediction.timing.compute_seconds == 0.002
    assert prediction.timing.batch_images == 4
    assert prediction.timing.call_seconds > 0


def test_large_input_is_cut_into_calls_and_answered_in_order(
    client: Client, fake: FakeServer, digit_images: Digits
) -> None:
    assert [p.digit for p in client.predict(digit_images(23))] == [n % 10 for n in range(23)]
    assert sorted(len(request.images) // 784 for request in fake.requests) == [3, 4, 4, 4, 4, 4]


def test_a_list_may_mix_kinds_of_images(client: Client, digit_images: Digits, tmp_path: Path) -> None:
    images = digit_images(6)
    picture, path = Image.fromarray(images[5].reshape(28, 28)), tmp_path / "five.png"
    picture.save(path)
    answers = client.predict([picture, images[:2], images[4].reshape(28, 28), images[3].astype(float), path])
    assert [p.digit for p in answers] == [5, 0, 1, 4, 3, 5]


def test_probabilities_come_when_asked_for(client: Client, digit_images: Digits) -> None:
    probabilities = client.predict(digit_images(6), probabilities=True)[5].probabilities
    assert probabilities is not None
    assert len(probabilities) == 10
    assert probabilities[5] == 0.75


def test_model_version_and_label_reach_the_server(
    client: Client, fake: FakeServer, digit_images: Digits
) -> None:
    client.predict(digit_images(1), model="fast", label="canary")
    client.predict(digit_images(1), model="fast", version=7)
    assert [(r.model, r.version, r.label) for r in fake.requests] == [("fast", 0, "canary"), ("fast", 7, "")]


def test_stream_reads_ahead_no_more_than_the_calls_in_flight(client: Client, digit_images: Digits) -> None:
    taken = 0

    def endless() -> Iterator[NDArray[np.uint8]]:
        nonlocal taken
        while True:
            taken += 1
            yield digit_images(taken)[-1]

    answers = client.stream(endless())
    assert [next(answers).digit for _ in range(30)] == [n % 10 for n in range(30)]
    assert taken <= 30 + 2 * 4


@pytest.mark.parametrize("kind", [Client], indirect=True)  # test_aio.py has the asyncio client's
def test_stream_answers_what_has_come_while_its_source_is_slow(client: Client, digit_images: Digits) -> None:
    answered = threading.Event()

    def slow() -> Iterator[NDArray[np.uint8]]:
        yield digit_images(1)
        answered.wait()  # one image is far from a full call
        yield digit_images(2)[1]

    digits = []
    for answer in client.stream(slow()):
        digits.append(answer.digit)
        answered.set()
    assert digits == [0, 1]


def test_stream_answers_what_came_before_its_source_failed(client: Client, digit_images: Digits) -> None:
    def failing() -> Iterator[NDArray[np.uint8]]:
        yield digit_images(3)
        raise RuntimeError("the camera is gone")

    digits: list[int] = []
    with pytest.raises(RuntimeError, match="the camera is gone"):
        digits.extend(answer.digit for answer in client.stream(failing()))
    assert digits == [0, 1, 2]


def test_one_image_is_one_prediction(client: Client, digit_images: Digits) -> None:
    assert client.predict_one(digit_images(6)[5]).digit == 5
    with pytest.raises(InputError, match="2 images, expected one"):
        client.predict_one(digit_images(2))


@pytest.mark.parametrize("thing", [None, 5, 2.5, object(), [], [None]])
def test_what_is_no_image_is_an_input_error(client: Client, thing: Any) -> None:
    with pytest.raises(InputError):
        client.predict(thing)


def test_failed_call_of_many_ends_the_prediction(
    client: Client, fake: FakeServer, digit_images: Digits
) -> None:
    fake.failures.append((grpc.StatusCode.NOT_FOUND, "model 'x' is not known"))
    with pytest.raises(ServerError, match="model 'x'"):
        client.predict(digit_images(400))


def test_timeout_and_token_are_arguments_too(fake: FakeServer, digit_images: Digits) -> None:
    with Client(fake.address, timeout=5, token="s3cret") as client:  # noqa: S106 - no secret
        client.predict(digit_images(1))
    assert fake.metadata[0]["authorization"] == "Bearer s3cret"


def test_busy_server_is_asked_again(client: Client, fake: FakeServer, digit_images: Digits) -> None:
    fake.failures.extend(
        [(grpc.StatusCode.UNAVAILABLE, "starting"), (grpc.StatusCode.RESOURCE_EXHAUSTED, "full")]
    )
    assert client.predict(digit_images(1))[0].digit == 0
    assert len(fake.requests) == 3


def test_refused_request_is_not_repeated(client: Client, fake: FakeServer, digit_images: Digits) -> None:
    fake.failures.append((grpc.StatusCode.NOT_FOUND, "model 'x' is not known, known: digits"))
    with pytest.raises(ServerError, match="refused: model 'x' is not known") as caught:
        client.predict(digit_images(1), model="x")
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    assert len(fake.requests) == 1


@pytest.mark.parametrize(
    ("lie", "complaint"),
    [
        ({"digits": [1], "confidences": [1.0, 1.0]}, "answered 1 digits for 2 images"),
        ({"digits": [1, 2], "confidences": [1.0]}, "answered 1 confidences for 2 images"),
        ({"digits": [1, 11], "confidences": [1.0, 1.0]}, "answered digit 11, expected 0-9"),
        ({"digits": [1, 2], "confidences": [1.0, float("nan")]}, "a confidence that is not a number"),
        (
            {"digits": [1, 2], "confidences": [1.0, 1.0], "probabilities": [0.1] * 10},
            "answered 10 probabilities, expected 0",
        ),
    ],
)
def test_lying_server_is_not_believed(
    client: Client, fake: FakeServer, digit_images: Digits, lie: dict[str, list[float]], complaint: str
) -> None:
    fake.answer = lambda _: prediction_pb2.PredictResponse(**lie)  # type: ignore[arg-type]  # one kind of list each
    with pytest.raises(ServerError, match=complaint) as caught:
        client.predict(digit_images(2))
    assert caught.value.code is grpc.StatusCode.DATA_LOSS


def test_ready_is_what_the_health_service_says(client: Client, fake: FakeServer) -> None:
    assert client.ready()
    fake.set_ready("digits", ready=False)
    assert not client.ready("digits")


def test_watch_tells_when_the_server_goes_and_comes_back() -> None:
    with FakeServer() as first, Client(Connection(address=first.address, attempts=1)) as client:
        states = client.watch()
        assert next(states) == "ready"
        first.set_ready("", ready=False)
        assert next(states) == "not ready"
        first.stop()
        assert next(states) == "gone"
        with FakeServer(port=int(first.address.split(":")[1])):
            assert next(states) == "ready"
        states.close()
