"""Spans of calls and batches, kept in memory."""

import sys
import time
from itertools import pairwise

import pytest

pytest.importorskip("opentelemetry.sdk", reason="NOT RUN: the extra otel is not installed")

from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased

from server.errors import StartError
from server.observability.tracing import CallTrace, Tracing

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
TRACEPARENT = f"00-{TRACE_ID}-00f067aa0ba902b7-01"
SERVICE = "digits.v1.PredictionService"


class Traced:
    """Calls of one method, and their spans."""

    def __init__(self, provider: TracerProvider) -> None:
        self._exporter = InMemorySpanExporter()
        provider.add_span_processor(SimpleSpanProcessor(self._exporter))
        self.tracing = Tracing(provider)

    def begin(self, *metadata: tuple[str, str | bytes]) -> CallTrace:
        trace = self.tracing.begin(metadata, SERVICE, "Predict")
        assert trace is not None
        return trace

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    @property
    def call(self) -> ReadableSpan:
        (span,) = self.spans(f"{SERVICE}/Predict")
        return span


@pytest.fixture
def traced() -> Traced:
    return Traced(TracerProvider())


def ids(span: ReadableSpan) -> tuple[int, int]:
    return span.context.trace_id, span.context.span_id


def test_call_continues_its_callers_trace_with_its_queue_and_compute(traced: Traced) -> None:
    trace = traced.begin(("traceparent", TRACEPARENT), ("some-bin", b"bytes"))
    assert trace.trace_id == TRACE_ID
    arrived = time.monotonic()
    trace.batch([(trace, arrived, True)], arrived + 1e-4, 1e-4, 1, "idle")
    trace.end("OK", "digits", 7)
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
    times = [span.start_time, queue.start_time, queue.end_time, compute.end_time]
    assert queue.end_time == compute.start_time
    # The two clocks were read one after the other: within a millisecond.
    assert all(after - before > -1e6 for before, after in pairwise(times))  # type: ignore[operator]


def test_batch_is_linked_to_each_of_its_callers(traced: Traced) -> None:
    traces = [traced.begin() for _ in range(3)]
    traces[0].batch([(trace, 0.0, True) for trace in traces], 0.1, 0.2, 3, "idle")
    for trace in traces:
        trace.end("OK")
    (batch,) = traced.spans("batch")
    calls = traced.spans(f"{SERVICE}/Predict")
    assert {(link.context.trace_id, link.context.span_id) for link in batch.links} == set(map(ids, calls))
    assert len(calls) == 3
    assert batch.attributes == {"digits.batch_images": 3, "digits.release_reason": "idle"}
    for compute in traced.spans("compute"):
        assert [(link.context.trace_id, link.context.span_id) for link in compute.links] == [ids(batch)]


def test_call_that_is_split_waits_once_and_is_computed_in_parts(traced: Traced) -> None:
    trace = traced.begin()
    for first in (True, False, False):
        trace.batch([(trace, 0.0, first)], 0.1, 0.2, 4, "full")
    assert len(traced.spans("queue")) == 1
    assert len(traced.spans("compute")) == len(traced.spans("batch")) == 3


def test_what_the_caller_did_not_sample_costs_no_span() -> None:
    traced = Traced(TracerProvider(sampler=ParentBased(ALWAYS_OFF)))
    assert traced.tracing.begin([("traceparent", TRACEPARENT[:-2] + "00")], SERVICE, "Predict") is None
    assert traced.tracing.begin([("traceparent", TRACEPARENT)], SERVICE, "Predict") is not None


def test_callers_fault_is_no_error_and_the_servers_is(traced: Traced) -> None:
    for code in ("NOT_FOUND", "INTERNAL"):
        traced.begin().end(code)
    callers, ours = traced.spans(f"{SERVICE}/Predict")
    assert callers.status.is_unset
    assert not ours.status.is_ok
    assert ours.attributes is not None
    assert ours.attributes["rpc.grpc.status_code"] == 13


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
    assert Tracing.start(environment) is None


def test_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    with pytest.raises(StartError, match=r"^OTEL_EXPORTER_OTLP_ENDPOINT is set, .*pip install '\.\[otel\]'$"):
        Tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://localhost:4317"})
