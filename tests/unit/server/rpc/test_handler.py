"""The handler, through a real channel, with a servicer that answers on request."""

import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest

from protos.digits.v1 import prediction_pb2 as pb
from server.errors import NotFoundError, OverloadedError, quoted
from server.rpc.call import Request
from server.rpc.handler import INTERNAL_MESSAGE
from server.rpc.prediction import PREDICTION_SERVICE
from tests.process import until
from tests.unit.server.rpc.conftest import WAIT_SECONDS, Running

PREDICT = "/digits.v1.PredictionService/Predict"
STREAM = "/digits.v1.PredictionService/PredictStream"


@dataclass
class Waiting:
    """Answers with the number of bytes, once it may."""

    running: Running | None = None
    requests: "queue.Queue[tuple[pb.PredictRequest, Request]]" = field(default_factory=queue.Queue)

    def Predict(self, request: pb.PredictRequest, call: Request) -> pb.PredictResponse | None:  # noqa: N802
        if request.model == "full":
            raise OverloadedError("the queue is full", retry_seconds=0.5)
        if request.model == "broken":
            raise RuntimeError("a secret")
        if request.model:
            raise NotFoundError(f"no model {quoted(request.model)}")
        if request.include_probabilities:  # at once
            return pb.PredictResponse(digits=[len(request.images)])
        self.requests.put((request, call))
        return None

    PredictStream = GetModel = ListModels = Predict

    def answer(self) -> None:
        """Answer the call that came first."""
        request, call = self.requests.get(timeout=WAIT_SECONDS)
        response = pb.PredictResponse(digits=[len(request.images)])
        assert self.running is not None
        self.running.on_loop(lambda: call.reply(response))


@dataclass
class Served:
    servicer: Waiting
    running: Running
    channel: grpc.Channel

    def predict(self, size_bytes: int, timeout: float = WAIT_SECONDS, **fields: Any) -> Any:
        call = self.channel.unary_unary(
            PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString
        )
        return call.future(pb.PredictRequest(images=bytes(size_bytes), **fields), timeout=timeout)

    def requests(self, code: str) -> float | None:
        service = PREDICTION_SERVICE.full_name
        return self.running.value("digits_requests_total", service=service, method="Predict", code=code)


Serving = Callable[..., AbstractContextManager[Served]]


@pytest.fixture
def serving(serve: Any) -> Serving:
    @contextmanager
    def waiting(**bounds: int) -> Iterator[Served]:
        servicer = Waiting()
        with serve(lambda handler: handler.add(PREDICTION_SERVICE, servicer), **bounds) as running:
            servicer.running = running
            yield Served(servicer, running, running.channel())

    return waiting


def refused(call: Any) -> tuple[str, str | None]:
    with pytest.raises(grpc.RpcError):
        call.result()
    if call.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        assert 10 <= int(dict(call.trailing_metadata())["grpc-retry-pushback-ms"]) <= 1000
    return call.code().name, call.details()


def test_calls_past_the_limit_are_refused_until_there_is_room(serving: Serving) -> None:
    with serving(max_calls=2) as server:
        calls = [server.predict(1), server.predict(2)]
        waiting = [server.servicer.requests.get(timeout=WAIT_SECONDS) for _ in calls]
        assert refused(server.predict(3)) == (
            "RESOURCE_EXHAUSTED",
            "2 calls in flight, the maximum of the server",
        )
        for each in waiting:
            server.servicer.requests.put(each)
            server.servicer.answer()
        assert [call.result().digits for call in calls] == [[1], [2]]
        assert server.predict(3, include_probabilities=True).result().digits == [3]
        assert server.running.value("digits_rejected_total", reason="calls") == 1
        assert server.requests("RESOURCE_EXHAUSTED") == 1


def test_refusals_are_counted_and_are_no_latencies(serving: Serving) -> None:
    with serving(max_calls=0) as server:
        assert refused(server.predict(1))[0] == "RESOURCE_EXHAUSTED"
        assert server.requests("RESOURCE_EXHAUSTED") == 1
        assert server.running.value("digits_request_duration_seconds_count", method="Predict") == 0


def test_a_call_counts_from_before_its_message_has_arrived(serving: Serving) -> None:
    with serving(max_calls=1) as server:
        half_open, end = threading.Event(), threading.Event()

        def nothing() -> Iterator[bytes]:
            half_open.set()
            end.wait(WAIT_SECONDS)
            yield from ()

        stream = server.channel.stream_stream(STREAM)(nothing())
        assert half_open.wait(WAIT_SECONDS)
        while (
            server.running.value("digits_rejected_total", reason="calls") == 0
        ):  # until the stream has arrived
            server.predict(1, include_probabilities=True).exception()
        assert refused(server.predict(1))[0] == "RESOURCE_EXHAUSTED"
        end.set()
        assert list(stream) == []
        assert server.predict(1, include_probabilities=True).result().digits == [1]


def test_messages_that_take_too_much_room_keep_others_out(serving: Serving) -> None:
    with serving(max_inflight_bytes=1000) as server:
        call = server.predict(1000)
        first = server.servicer.requests.get(timeout=WAIT_SECONDS)
        assert refused(server.predict(1)) == (
            "RESOURCE_EXHAUSTED",
            "calls in flight hold 1003 bytes, the maximum is 1000",
        )
        server.servicer.requests.put(first)
        server.servicer.answer()
        assert call.result().digits == [1000]
        assert server.predict(1, include_probabilities=True).result().digits == [1]
        assert server.running.value("digits_rejected_total", reason="bytes") == 1


def test_a_call_that_the_queue_refuses_is_told_when_to_try_again(serving: Serving) -> None:
    with serving() as server:
        call = server.predict(0, model="full")
        assert refused(call) == ("RESOURCE_EXHAUSTED", "the queue is full")
        pushback = int(dict(call.trailing_metadata())["grpc-retry-pushback-ms"])
        assert 250 <= pushback <= 750  # spread by half


def test_defect_is_internal_and_tells_nothing(serving: Serving) -> None:
    with serving() as server:
        assert refused(server.predict(0, model="broken")) == ("INTERNAL", INTERNAL_MESSAGE)
        assert server.requests("INTERNAL") == 1


def test_cancelled_calls_give_their_room_back(serving: Serving) -> None:
    with serving(max_calls=1, max_inflight_bytes=1) as server:
        call = server.predict(1)
        _, request = server.servicer.requests.get(timeout=WAIT_SECONDS)
        call.cancel()
        until(lambda: server.requests("CANCELLED"))
        server.running.on_loop(lambda: request.reply(pb.PredictResponse()))  # too late, and no harm
        assert server.predict(1, include_probabilities=True).result().digits == [1]
        assert server.requests("OK") == 1


def test_a_call_that_ends_at_its_deadline_is_counted_as_such(serving: Serving) -> None:
    with serving() as server:
        assert refused(server.predict(1, timeout=0.1))[0] == "DEADLINE_EXCEEDED"
        until(lambda: server.requests("DEADLINE_EXCEEDED"))
        assert server.requests("CANCELLED") == 0


@pytest.mark.parametrize("content", [b"\xff", b"\x0a\x05ab", b"\x1a\x02\xff\xfe"])
def test_bytes_that_are_no_message_are_the_callers_mistake(serving: Serving, content: bytes) -> None:
    expected = "INVALID_ARGUMENT", f"the message's {len(content)} bytes are not a digits.v1.PredictRequest"
    with serving() as server:
        assert refused(server.channel.unary_unary(PREDICT).future(content)) == expected
        stream = server.channel.stream_stream(STREAM)(iter([content]))
        with pytest.raises(grpc.RpcError):
            next(stream)
        assert (stream.code().name, stream.details()) == expected


def test_call_without_a_message_is_the_callers_mistake(serving: Serving) -> None:
    with serving() as server:
        call = server.channel.stream_unary(PREDICT).future(iter([]))
        assert refused(call) == (
            "INVALID_ARGUMENT",
            "the call ended without a message, expected one digits.v1.PredictRequest",
        )
