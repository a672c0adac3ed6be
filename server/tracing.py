"""OpenTelemetry spans: one for a call, its time in the queue and in the model under it, and one for a batch.

What is sampled, and where it goes, is set by OpenTelemetry's own environment variables.
"""

import time
from collections.abc import Sequence
from importlib.metadata import version
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc.aio import ServicerContext
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, set_span_in_context
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from server.trace import Part, current

# The statuses that are the server's fault: OpenTelemetry's conventions for gRPC servers.
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
CODES = {code.name: code.value[0] for code in grpc.StatusCode}


class Tracing:
    """Begins a span for each call that is sampled."""

    def __init__(self, provider: TracerProvider) -> None:
        self._provider = provider
        self.tracer = provider.get_tracer("digit-server", version("digit-serving"))
        self._propagator = TraceContextTextMapPropagator()
        # Spans are of the calendar's clock, everything else here is of the monotonic one.
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    @classmethod
    def to_collector(cls) -> "Tracing":
        """Send spans over gRPC, as the environment says."""
        named = Resource({SERVICE_NAME: "digit-server"}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=Resource.create().merge(named))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def begin(
        self, context: ServicerContext[Any, Any], service: str, method: str, *, unary: bool
    ) -> "CallTrace | None":
        """Begin the span of a call under its caller's; None where it is not sampled.

        A stream gets a span, and its messages none: there may be millions.
        """
        metadata = {
            key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)
        }
        span = self.tracer.start_span(
            f"{service}/{method}",
            self._propagator.extract(metadata),
            SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        if not span.is_recording():
            return None
        trace = CallTrace(self, span)
        if unary:
            current.set(trace)
        return trace

    def nanoseconds(self, monotonic: float) -> int:
        """Return a time of the monotonic clock on the calendar's."""
        return int(monotonic * 1e9) + self._offset_ns

    def close(self) -> None:
        """Send what is left."""
        self._provider.shutdown()


class CallTrace:
    """The span of one call."""

    def __init__(self, tracing: Tracing, span: Span) -> None:
        self._tracing = tracing
        self.span = span

    @property
    def trace_id(self) -> str:
        """The trace's id, hexadecimal."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def batch(self, parts: Sequence[Part], started: float, seconds: float, images: int, reason: str) -> None:
        """Record one run of the model for all traced calls in it; this call's trace gets the batch's span."""
        tracer, nanoseconds = self._tracing.tracer, self._tracing.nanoseconds
        begun, ended = nanoseconds(started), nanoseconds(started + seconds)
        spans = [part.trace.span for part in parts if isinstance(part.trace, CallTrace)]
        batch = tracer.start_span(
            "batch",
            set_span_in_context(self.span),
            links=[Link(span.get_span_context()) for span in spans],
            start_time=begun,
            attributes={"digits.batch_images": images, "digits.release_reason": reason},
        )
        to_batch = [Link(batch.get_span_context())]
        for part, span in zip(parts, spans, strict=True):
            parent = set_span_in_context(span)
            if part.first:
                tracer.start_span("queue", parent, start_time=nanoseconds(part.arrived)).end(begun)
            tracer.start_span("compute", parent, start_time=begun, links=to_batch).end(ended)
        batch.end(ended)

    def end(self, code: str, response: Message | None) -> None:
        """End the span of the call, which was answered with a status and perhaps a message."""
        self.span.set_attribute("rpc.grpc.status_code", CODES[code])
        # The two services' answers name it differently, other answers not at all.
        if model := getattr(response, "model", "") or getattr(response, "model_name", ""):
            number = getattr(response, "version", 0) or getattr(response, "model_version", 0)
            self.span.set_attributes({"digits.model": model, "digits.version": int(number)})
        if code in FAULTS:
            self.span.set_status(StatusCode.ERROR)
        self.span.end()
