"""Spans of calls and batches, kept in memory."""

import asyncio
from collections.abc import Callable, Coroutine
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prometheus_client.openmetrics.exposition import generate_latest

pytest.importorskip("opentelemetry.sdk", reason="NOT RUN: the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from protos.digits.v1 import prediction_pb2 as pb
from server import trace
from server.batcher import Batcher
from server.call_log import CallLog
from server.calls import Observers, observed
from server.errors import NotFoundError, StartError
from server.metrics import Metrics
from server.tracing import Tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"


class Context:
    """A call's context that has metadata and no deadline."""

    def __init__(self, **metadata: str) -> None:
        self._metadata = tuple(metadata.items())

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return self._metadata

    def time_remaining(self) -> None:
        return None

    async def abort(self, *_: object) -> None:
        raise RuntimeError("aborted")


class Ones:
    """A model that sees a one in everything."""

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.tile(np.eye(10, dtype=np.float32)[1], (len(images), 1))


class Traced:
    """A server of one method, and the spans and metrics of its calls."""

    def __init__(self, provider: TracerProvider) -> None:
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.metrics = Metrics()
        self.batcher = Batcher(
            Ones(), self.metrics.loaded("digits", 7), max_batch_images=4, max_queue_images=100
        )
        self._observers = Observers(self.metrics, CallLog(sample=0, slow_seconds=0), Tracing(provider))

    def method(self, handler: Any, *, unary: bool = True) -> Callable[..., Coroutine[Any, Any, Any]]:
        return observed(handler, "digits.v1.PredictionService", "Predict", self._observers, unary=unary)  # type: ignore[return-value]

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def call(self) -> ReadableSpan:
        (span,) = self.spans("digits.v1.PredictionService/Predict")
        return span


@pytest.fixture
async def traced() -> Traced:
    return Traced(TracerProvider())


async def predict(traced: Traced, count: int = 1) -> pb.PredictResponse:
    await traced.batcher.submit(bytes(784 * count), count)
    return pb.PredictResponse(model="digits", version=7)


def ids(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


async def test_call_continues_its_callers_trace_with_its_queue_and_compute(traced: Traced) -> None:
    call = traced.method(lambda *_: predict(traced))
    await call(None, Context(traceparent=TRACEPARENT))
    span = traced.call
    assert f"{span.context.trace_id:032x}" == TRACE_ID
    assert span.parent is not None
    assert span.parent.span_id == 0x00F067AA0BA902B7
    assert span.attributes is not None
    assert span.attributes["rpc.grpc.status_code"] == 0
    assert (span.attributes["digits.model"], span.attributes["digits.version"]) == ("digits", 7)
    (queue,), (compute,) = traced.spans("queue"), traced.spans("compute")
    for child in (queue, compute):
        assert child.parent is not None
        assert child.parent.span_id == span.context.span_id
    times = [span.start_time, queue.start_time, queue.end_time, compute.end_time, span.end_time]
    assert queue.end_time == compute.start_time
    # The two clocks were read one after the other: within a millisecond.
    assert all(after - before > -1e6 for before, after in pairwise(times))  # type: ignore[operator]


async def test_batch_is_linked_to_each_of_its_callers(traced: Traced) -> None:
    call = traced.method(lambda *_: predict(traced))
    await asyncio.gather(*(call(None, Context()) for _ in range(3)))
    (batch,) = traced.spans("batch")
    calls = traced.spans("digits.v1.PredictionService/Predict")
    assert {(link.context.trace_id, link.context.span_id) for link in batch.links} == set(map(ids, calls))
    assert len(calls) == 3
    assert batch.attributes == {"digits.batch_images": 3, "digits.release_reason": "idle"}
    for compute in traced.spans("compute"):
        assert [(link.context.trace_id, link.context.span_id) for link in compute.links] == [ids(batch)]


async def test_call_that_is_split_waits_once_and_is_computed_in_parts(traced: Traced) -> None:
    await traced.method(lambda *_: predict(traced, 10))(None, Context())
    assert len(traced.spans("queue")) == 1
    assert len(traced.spans("compute")) == len(traced.spans("batch")) == 3


async def test_what_the_caller_did_not_sample_costs_no_span_and_no_exemplar() -> None:
    traced = Traced(TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    call = traced.method(lambda *_: predict(traced))
    await call(None, Context(traceparent=TRACEPARENT[:-2] + "00"))
    assert not traced.spans("queue")
    await call(None, Context(traceparent=TRACEPARENT))
    assert len(traced.spans("queue")) == 1


async def test_callers_fault_is_no_error_and_the_servers_is(traced: Traced) -> None:
    async def fail(error: Exception, *_: object) -> None:
        raise error

    for error in (NotFoundError("no such model"), RuntimeError("a defect")):
        with pytest.raises(RuntimeError, match="aborted"):
            await traced.method(lambda *_, error=error: fail(error))(None, Context())
    callers, ours = traced.spans("digits.v1.PredictionService/Predict")
    assert callers.status.is_unset
    assert not ours.status.is_ok
    assert ours.attributes is not None
    assert ours.attributes["rpc.grpc.status_code"] == 13


async def test_stream_has_a_span_and_its_messages_none(traced: Traced) -> None:
    await traced.method(lambda *_: predict(traced), unary=False)(None, Context())
    assert traced.call
    assert not traced.spans("queue")
    assert not traced.spans("batch")


async def test_duration_bucket_names_a_trace_where_openmetrics_is_asked_for(traced: Traced) -> None:
    await traced.method(lambda *_: predict(traced))(None, Context(traceparent=TRACEPARENT))
    traced.metrics.flush()
    page = generate_latest(traced.metrics.registry).decode()  # type: ignore[no-untyped-call]
    (line,) = [line for line in page.splitlines() if TRACE_ID in line]
    assert line.startswith('digits_request_duration_seconds_bucket{le="')
    assert f' 1.0 # {{trace_id="{TRACE_ID}"}} ' in line


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": ""},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_SDK_DISABLED": "true"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317", "OTEL_TRACES_EXPORTER": "none"},
    ],
)
def test_nothing_is_traced_unless_there_is_somewhere_to_send_it(environment: dict[str, str]) -> None:
    assert trace.start(environment) is None


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "server.tracing", None)
    with pytest.raises(StartError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT is set, .*digit-serving\[otel\]$"):
        trace.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"})
