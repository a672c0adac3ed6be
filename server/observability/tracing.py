"""OpenTelemetry spans: one per call, with child spans for queue and compute, and one per batch.

OpenTelemetry's environment variables set the exporter and the sampling; without them OpenTelemetry is not
imported.
"""

import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, NamedTuple

import grpc

from server.errors import StartError

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
# Statuses that mark a span as failed, by OpenTelemetry's conventions for gRPC servers.
FAULTS = frozenset({"UNKNOWN", "DEADLINE_EXCEEDED", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS"})
CODES = {code.name: code.value[0] for code in grpc.StatusCode}


class Tracing:
    """Starts a span for each sampled call."""

    def __init__(self, provider: "TracerProvider") -> None:
        from opentelemetry import trace  # noqa: PLC0415 - costs memory, and may not be installed
        from opentelemetry.trace.propagation import tracecontext  # noqa: PLC0415 - likewise

        self.api = trace
        self._provider = provider
        self.tracer = provider.get_tracer("digit-server", version("digit-serving"))
        self._propagator = tracecontext.TraceContextTextMapPropagator()
        # Offset from the monotonic clock to Unix time, which spans use.
        self._offset_ns = time.time_ns() - time.monotonic_ns()

    @classmethod
    def start(cls, environment: Mapping[str, str]) -> "Tracing | None":
        """Return the tracing that the environment configures; None if it configures none.

        Raises:
            StartError: OpenTelemetry is not installed.

        """
        endpoint = next((name for name in ENDPOINTS if environment.get(name)), None)
        off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
        if endpoint is None or off or environment.get("OTEL_TRACES_EXPORTER") == "none":
            return None
        try:
            return cls._to_collector()
        except ImportError:
            raise StartError(
                f"{endpoint} is set, and OpenTelemetry is not installed; "
                "in the repository: pip install '.[otel]'"
            ) from None

    @classmethod
    def _to_collector(cls) -> "Tracing":
        """Export spans over gRPC, configured by the environment."""
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
        from opentelemetry.sdk.resources import SERVICE_NAME, OTELResourceDetector, Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415

        named = Resource({SERVICE_NAME: "digit-server"}).merge(OTELResourceDetector().detect())
        provider = TracerProvider(resource=Resource.create().merge(named))
        provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        return cls(provider)

    def begin(self, metadata: Iterable[tuple[str, Any]], service: str, method: str) -> "CallTrace | None":
        """Start the span of a call as a child of its caller's; None if it is not sampled."""
        carrier = {key: value for key, value in metadata if isinstance(value, str)}
        span = self.tracer.start_span(
            f"{service}/{method}",
            self._propagator.extract(carrier),
            self.api.SpanKind.SERVER,
            {"rpc.system": "grpc", "rpc.service": service, "rpc.method": method},
        )
        return CallTrace(self, span) if span.is_recording() else None

    def nanoseconds(self, monotonic: float) -> int:
        """Convert monotonic seconds to Unix nanoseconds."""
        return int(monotonic * 1e9) + self._offset_ns

    def close(self) -> None:
        """Export the remaining spans."""
        self._provider.shutdown()


class TracedPart(NamedTuple):
    """A traced call's part in a batch."""

    trace: "CallTrace"
    arrived: float  # monotonic seconds
    first: bool  # whether this is the call's first part


class CallTrace:
    """The span of one call."""

    def __init__(self, tracing: Tracing, span: "Span") -> None:
        self._tracing = tracing
        self.span = span

    @property
    def trace_id(self) -> str:
        """The trace's id, hexadecimal."""
        return f"{self.span.get_span_context().trace_id:032x}"

    def batch(
        self, parts: Sequence[TracedPart], started: float, seconds: float, images: int, reason: str
    ) -> None:
        """Record one run of the model for all traced calls in it; the batch's span joins this call's trace.

        `started` is monotonic seconds.
        """
        tracer, api, nanoseconds = self._tracing.tracer, self._tracing.api, self._tracing.nanoseconds
        begun, ended = nanoseconds(started), nanoseconds(started + seconds)
        batch = tracer.start_span(
            "batch",
            api.set_span_in_context(self.span),
            links=[api.Link(trace.span.get_span_context()) for trace, *_ in parts],
            start_time=begun,
            attributes={"digits.batch_images": images, "digits.release_reason": reason},
        )
        to_batch = [api.Link(batch.get_span_context())]
        for trace, arrived, first in parts:
            parent = api.set_span_in_context(trace.span)
            if first:
                tracer.start_span("queue", parent, start_time=nanoseconds(arrived)).end(begun)
            tracer.start_span("compute", parent, start_time=begun, links=to_batch).end(ended)
        batch.end(ended)

    def end(self, code: str, model: str = "", version: int = 0) -> None:
        """End the span with the call's status and, if known, the version that answered."""
        self.span.set_attribute("rpc.grpc.status_code", CODES[code])
        if model:
            self.span.set_attributes({"digits.model": model, "digits.version": version})
        if code in FAULTS:
            self.span.set_status(self._tracing.api.StatusCode.ERROR)
        self.span.end()
