"""Streams: order, bounds in messages and bytes, and their end."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc
import pytest

from protos.digits.v1 import prediction_pb2 as pb
from server.errors import InvalidRequestError
from server.rpc.call import Request
from server.rpc.prediction import PREDICTION_SERVICE
from server.rpc.stream import STREAM_WINDOW
from tests.process import failure, until
from tests.unit.server.rpc.conftest import WAIT_SECONDS, Running

METHOD = "/digits.v1.PredictionService/PredictStream"


class Servicer:
    """Keeps the requests of its streams until the test answers them."""

    def __init__(self) -> None:
        self.requests: list[tuple[pb.PredictRequest, Request]] = []
        self.arrived = threading.Semaphore(0)
        self.running: Running | None = None

    def PredictStream(self, request: pb.PredictRequest, call: Request) -> pb.PredictResponse | None:  # noqa: N802
        self.requests.append((request, call))
        self.arrived.release()
        if request.model == "bad":
            raise InvalidRequestError("bad")
        return self.echo(request) if request.include_probabilities else None

    Predict = GetModel = ListModels = PredictStream

    @staticmethod
    def echo(request: pb.PredictRequest) -> pb.PredictResponse:
        return pb.PredictResponse(version=request.version, model="x" * len(request.images))

    def answer(self, index: int) -> None:
        request, call = self.requests[index]
        assert self.running is not None
        self.running.on_loop(lambda: call.reply(self.echo(request)))

    def wait(self, count: int) -> None:
        for _ in range(count):
            assert self.arrived.acquire(timeout=WAIT_SECONDS)


class Stream:
    """A caller's end, which sends what it is given."""

    def __init__(self, channel: grpc.Channel) -> None:
        self.to_send: queue.Queue[pb.PredictRequest | None] = queue.Queue()
        self.call = channel.stream_stream(
            METHOD, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString
        )(iter(self.to_send.get, None))

    def send(self, *numbers: int, **fields: Any) -> None:
        for number in numbers:
            self.to_send.put(pb.PredictRequest(version=number, **fields))

    def end(self) -> None:
        self.to_send.put(None)

    def versions(self) -> list[int]:
        return [response.version for response in self.call]


Streaming = Callable[..., AbstractContextManager[tuple[Servicer, Stream]]]


@pytest.fixture
def streaming(serve: Any) -> Streaming:
    @contextmanager
    def stream(**bounds: int) -> Iterator[tuple[Servicer, Stream]]:
        servicer = Servicer()
        bounds = {"max_inflight_bytes": 100_000_000} | bounds
        with serve(lambda handler: handler.add(PREDICTION_SERVICE, servicer), **bounds) as running:
            servicer.running = running
            # With a constant window, few answers leave for a caller that does not read.
            caller = Stream(running.channel(("grpc.http2.bdp_probe", 0)))
            yield servicer, caller
            caller.end()

    return stream


def unread(servicer: Servicer) -> None:
    """Let a second caller come and go: what could have been read of the first has been."""
    assert servicer.running is not None
    for _ in range(10):
        other = Stream(servicer.running.channel())
        other.send(1, include_probabilities=True)
        other.end()
        assert other.versions() == [1]
        servicer.wait(1)


def test_answers_keep_the_order_of_the_requests_whichever_is_ready_first(streaming: Streaming) -> None:
    with streaming() as (servicer, stream):
        stream.send(*range(1, 11))
        servicer.wait(10)
        stream.end()
        for index in reversed(range(10)):
            servicer.answer(index)
        assert stream.versions() == list(range(1, 11))


def test_a_window_of_requests_is_under_way_together(streaming: Streaming) -> None:
    with streaming() as (servicer, stream):
        stream.send(*range(1, STREAM_WINDOW + 11))
        servicer.wait(STREAM_WINDOW)
        unread(servicer)
        assert len(servicer.requests) == STREAM_WINDOW + 10  # those of the other callers
        servicer.answer(0)
        assert next(stream.call).version == 1
        servicer.wait(1)


def test_caller_that_does_not_read_holds_a_bounded_number_of_bytes(streaming: Streaming) -> None:
    with streaming(max_inflight_bytes=32_000_000) as (servicer, stream):
        stream.send(*range(1, 61), images=bytes(1_000_000), include_probabilities=True)
        servicer.wait(4)  # an eighth
        unread(servicer)
        mine = [request for request, _ in servicer.requests if request.images]
        # The first one's answer may have left for the caller's own buffers.
        assert len(mine) <= 8
        stream.end()
        assert stream.versions() == list(range(1, 61))


def test_streams_share_the_bound_on_bytes_with_other_calls(streaming: Streaming) -> None:
    with streaming(max_inflight_bytes=1000) as (servicer, stream):
        stream.send(1, images=bytes(1000))
        servicer.wait(1)
        assert servicer.running is not None
        call = servicer.running.channel().unary_unary("/digits.v1.PredictionService/Predict")
        assert failure(lambda: call(b""))[0] == "RESOURCE_EXHAUSTED"
        servicer.answer(0)
        assert next(stream.call).version == 1
        stream.send(2)
        servicer.wait(1)  # there is room again


def test_first_error_ends_the_stream_after_the_answers_before_it(streaming: Streaming) -> None:
    with streaming() as (servicer, stream):
        stream.send(1, 2)
        stream.send(3, model="bad")
        stream.send(4)
        servicer.wait(3)
        servicer.answer(0)
        servicer.answer(1)
        assert [next(stream.call).version for _ in range(2)] == [1, 2]
        with pytest.raises(grpc.RpcError):
            next(stream.call)
        assert (stream.call.code(), stream.call.details()) == (grpc.StatusCode.INVALID_ARGUMENT, "bad")


def test_stream_without_requests_ends_well(streaming: Streaming) -> None:
    with streaming() as (_, stream):
        stream.end()
        assert stream.versions() == []


def test_cancelled_stream_is_counted_and_gives_its_room_back(streaming: Streaming) -> None:
    with streaming(max_calls=1) as (servicer, stream):
        stream.send(1, 2, images=bytes(1000))
        servicer.wait(2)
        stream.call.cancel()
        running = servicer.running
        assert running is not None
        labels = {"service": PREDICTION_SERVICE.full_name, "method": "PredictStream"}
        until(lambda: running.value("digits_requests_total", code="CANCELLED", **labels))
        servicer.answer(0)  # too late, and no harm

        def accepted() -> bool:
            other = Stream(running.channel())
            other.send(3, include_probabilities=True)
            other.end()
            try:
                return other.versions() == [3]
            except grpc.RpcError as error:
                assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED  # noqa: PT017 - or else it fails
                return False

        until(accepted)


def test_closed_stream_answers_what_is_under_way_and_ends(streaming: Streaming) -> None:
    with streaming() as (servicer, stream):
        stream.send(1)
        servicer.wait(1)
        running = servicer.running
        assert running is not None
        running.on_loop(running.handler.close_streams)
        servicer.answer(0)
        assert next(stream.call).version == 1
        with pytest.raises(grpc.RpcError):
            next(stream.call)
        assert (stream.call.code(), stream.call.details()) == (
            grpc.StatusCode.UNAVAILABLE,
            "the server is stopping",
        )
