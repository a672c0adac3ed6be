"""What every call has in common, through a real channel, with a servicer that waits."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from grpc.aio import AioRpcError

from protos.digits.v1 import prediction_pb2 as pb
from server.admission import Admission
from server.call_log import CallLog
from server.calls import Observers, service_handler
from server.errors import OverloadedError
from server.metrics import Metrics
from server.serve import PREDICTION_SERVICE

PREDICT = "/digits.v1.PredictionService/Predict"
STREAM = "/digits.v1.PredictionService/PredictStream"


class Waiting:
    """Answers once it may."""

    def __init__(self) -> None:
        self.begun = asyncio.Semaphore(0)
        self.may_answer = asyncio.Event()
        self.ended = asyncio.Semaphore(0)

    async def Predict(self, request: pb.PredictRequest, _: Any) -> pb.PredictResponse:  # noqa: N802
        self.begun.release()
        if not request.images:
            raise OverloadedError("the queue is full", retry_seconds=0.5)
        try:
            await self.may_answer.wait()
        finally:
            self.ended.release()
        return pb.PredictResponse(digits=[len(request.images)])

    async def PredictStream(self, requests: AsyncIterator[pb.PredictRequest], context: Any) -> None:  # noqa: N802
        async for request in requests:
            await context.write(await self.Predict(request, context))

    GetModel = ListModels = Predict


@dataclass
class Serving:
    servicer: Waiting
    metrics: Metrics
    channel: grpc.aio.Channel

    def predict(self, size_bytes: int, timeout: float = 30) -> Any:
        call = self.channel.unary_unary(
            PREDICT, pb.PredictRequest.SerializeToString, pb.PredictResponse.FromString
        )
        return call(pb.PredictRequest(images=bytes(size_bytes)), timeout=timeout)

    def value(self, name: str, **labels: str) -> float | None:
        self.metrics.flush()
        return self.metrics.registry.get_sample_value(name, labels)

    def requests(self, code: str) -> float | None:
        return self.value(
            "digits_requests_total", service=PREDICTION_SERVICE.full_name, method="Predict", code=code
        )


@asynccontextmanager
async def serving(*, max_calls: int = 100, max_inflight_bytes: int = 10_000) -> AsyncIterator[Serving]:
    servicer, metrics = Waiting(), Metrics()
    admission = Admission(metrics, max_calls=max_calls, max_inflight_bytes=max_inflight_bytes)
    server = grpc.aio.server()
    observers = Observers(metrics, CallLog(sample=0, slow_seconds=0))
    handler = service_handler(PREDICTION_SERVICE, servicer, observers, admission)
    server.add_generic_rpc_handlers((handler,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    # Without retries: each refusal is seen.
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", [("grpc.enable_retries", 0)]) as channel:
        yield Serving(servicer, metrics, channel)
    await server.stop(None)


async def refused(call: Any) -> tuple[str, str | None]:
    with pytest.raises(AioRpcError) as caught:
        await call
    if caught.value.code() == grpc.StatusCode.RESOURCE_EXHAUSTED:
        trailers = dict(caught.value.trailing_metadata())
        assert 10 <= int(trailers["grpc-retry-pushback-ms"]) <= 1000
    return caught.value.code().name, caught.value.details()


async def test_calls_past_the_limit_are_refused_until_there_is_room() -> None:
    async with serving(max_calls=2) as server:
        calls = [server.predict(1), server.predict(2)]
        for _ in calls:
            await server.servicer.begun.acquire()
        assert await refused(server.predict(3)) == (
            "RESOURCE_EXHAUSTED",
            "2 calls are under way, the most that the server takes",
        )
        server.servicer.may_answer.set()
        assert [(await call).digits for call in calls] == [[1], [2]]
        assert (await server.predict(3)).digits == [3]
        assert server.value("digits_rejected_total", reason="calls") == 1
        assert server.requests("RESOURCE_EXHAUSTED") == 1


async def test_a_call_counts_from_before_its_message_has_arrived() -> None:
    async with serving(max_calls=1) as server:
        stream = server.channel.stream_stream(STREAM)()
        await stream.wait_for_connection()
        while server.value("digits_rejected_total", reason="calls") == 0:  # until the stream has arrived
            server.servicer.may_answer.set()
            await asyncio.gather(server.predict(1), return_exceptions=True)
        assert (await refused(server.predict(1)))[0] == "RESOURCE_EXHAUSTED"
        await stream.done_writing()
        assert await stream.read() is grpc.aio.EOF
        assert (await server.predict(1)).digits == [1]


async def test_messages_that_take_too_much_room_keep_others_out() -> None:
    async with serving(max_inflight_bytes=1000) as server:
        call = server.predict(1000)
        await server.servicer.begun.acquire()
        code, message = await refused(server.predict(1))
        assert code == "RESOURCE_EXHAUSTED"
        assert message == "calls under way hold 1003 bytes, the server takes no more past 1000"
        server.servicer.may_answer.set()
        await call
        assert (await server.predict(1)).digits == [1]
        assert server.value("digits_rejected_total", reason="bytes") == 1


async def test_a_call_that_the_queue_refuses_is_told_when_to_try_again() -> None:
    async with serving() as server:
        with pytest.raises(AioRpcError) as caught:
            await server.predict(0)
    assert (caught.value.code(), caught.value.details()) == (
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        "the queue is full",
    )
    trailers = dict(caught.value.trailing_metadata())
    assert 250 <= int(trailers["grpc-retry-pushback-ms"]) <= 750  # spread by half


async def test_cancelled_calls_give_their_room_back() -> None:
    async with serving(max_calls=1, max_inflight_bytes=1) as server:
        call = server.predict(1)
        await server.servicer.begun.acquire()
        call.cancel()
        await server.servicer.ended.acquire()
        assert server.requests("CANCELLED") == 1
        server.servicer.may_answer.set()
        assert (await server.predict(1)).digits == [1]


async def test_a_call_that_ends_at_its_deadline_is_counted_as_such() -> None:
    async with serving() as server:
        assert (await refused(server.predict(1, timeout=0.1)))[0] == "DEADLINE_EXCEEDED"
        await server.servicer.ended.acquire()
        assert server.requests("DEADLINE_EXCEEDED") == 1
        assert server.requests("CANCELLED") == 0


@pytest.mark.parametrize("content", [b"\xff", b"\x0a\x05ab", b"\x1a\x02\xff\xfe"])
async def test_bytes_that_are_no_message_are_the_callers_mistake(content: bytes) -> None:
    expected = "INVALID_ARGUMENT", f"the message's {len(content)} bytes are no digits.v1.PredictRequest"
    async with serving() as server:
        assert await refused(server.channel.unary_unary(PREDICT)(content)) == expected
        assert await refused(server.channel.stream_stream(STREAM)(iter([content])).read()) == expected


async def test_call_without_a_message_is_the_callers_mistake() -> None:
    async with serving() as server:
        call = server.channel.stream_unary(PREDICT)(iter([]))
        assert await refused(call) == (
            "INVALID_ARGUMENT",
            "the call ended without a message, expected one digits.v1.PredictRequest",
        )
