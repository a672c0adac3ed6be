"""What the rest of the server knows of tracing: whether it is on, and the trace of the call at hand.

OpenTelemetry is imported, by `server.tracing`, only where its own environment variables ask for it.
"""

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from typing import TYPE_CHECKING, NamedTuple, Protocol

from server.errors import StartError

if TYPE_CHECKING:
    from server.tracing import Tracing

ENDPOINTS = ("OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")


class Part(NamedTuple):
    """A traced call's part in a batch."""

    trace: "Trace"
    arrived: float
    first: bool  # of the call's parts


class Trace(Protocol):
    """One traced call."""

    def batch(  # noqa: D102
        self, parts: Sequence[Part], started: float, seconds: float, images: int, reason: str
    ) -> None: ...


# Of the call of this task; None where it is not traced.
current: ContextVar[Trace | None] = ContextVar("trace", default=None)


def start(environment: Mapping[str, str]) -> "Tracing | None":
    """Return what traces calls, if the environment names where traces go and does not switch them off.

    Raises:
        StartError: it does, and OpenTelemetry is not installed or cannot be set up.

    """
    endpoint = next((name for name in ENDPOINTS if environment.get(name)), None)
    off = environment.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if endpoint is None or off or environment.get("OTEL_TRACES_EXPORTER") == "none":
        return None
    try:
        from server.tracing import Tracing  # noqa: PLC0415 - costs memory, and may not be installed
    except ImportError:
        raise StartError(
            f"{endpoint} is set, and OpenTelemetry is not installed: install digit-serving[otel]"
        ) from None
    return Tracing.to_collector()
