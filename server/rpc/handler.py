"""The handler in front of every method: admission, parsing, timing, metrics, and errors as statuses."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import DecodeError, Message
from google.protobuf.message_factory import GetMessageClass
from grpc import StatusCode

from server.batching.call_queue import Answer
from server.errors import InvalidRequestError, OverloadedError, ServingError
from server.observability.metrics import Metrics
from server.observability.table import REJECTED, REQUEST_DURATION, REQUESTS
from server.observability.tracing import CallTrace, Tracing
from server.rpc.access_log import AccessLog
from server.rpc.call import Call
from server.rpc.server import Metadata, Rpc
from server.rpc.stream import Stream
from server.rpc.tokens import Tokens

INTERNAL_MESSAGE = "internal error, the server's log has the details"
# Retry delay when the process is full: a few batches.
FULL_RETRY_SECONDS = 0.1
# Bounds of the retry delay; the lower one is about one batch.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.01, 10.0
# A stream may hold one part in this many of the bytes of all calls.
STREAM_SHARE = 8
# gRPC limits metadata to 8 KiB, and percent-encodes a character in up to twelve bytes.
MAX_DETAILS_CHARACTERS = 600

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a service and its implementation."""

    service: str
    name: str
    parse: Callable[[bytes | None], Message]
    run: Callable[[Any, Any], Message | None]  # returns the answer, or None and answers later
    client_streaming: bool
    streaming: bool
    limited: bool


@dataclass(frozen=True, slots=True)
class Failure:
    """The status that the caller receives for an error."""

    code: StatusCode
    details: str
    trailers: tuple[tuple[str, str], ...] = ()
    refused: bool = False


class Handler:
    """Dispatches calls to methods, and admits or refuses them before their message is read."""

    def __init__(  # noqa: PLR0913 - three observers, three bounds
        self,
        metrics: Metrics,
        access_log: AccessLog,
        tracing: Tracing | None,
        call_soon: Callable[[Callable[[], None]], None],
        *,
        max_calls: int,
        max_inflight_bytes: int,
        tokens: Tokens | None = None,
    ) -> None:
        self._metrics = metrics
        self._access_log = access_log
        self._tracing = tracing
        self._call_soon = call_soon
        self._max_calls = max_calls
        self._max_bytes = max_inflight_bytes
        self._tokens = tokens
        self._methods: dict[bytes, Method] = {}
        self._calls = 0
        self._bytes = 0
        self._streams: set[Stream] = set()
        self._stalled: dict[Stream, None] = {}  # streams that wait for room for their next message
        self._closing = False
        self.stream_bytes = max_inflight_bytes // STREAM_SHARE

    def add(
        self, service: ServiceDescriptor, servicer: object, *, limited: bool = True, name: str = ""
    ) -> None:
        """Answer each method of `service` with the method of `servicer` that has its name.

        The method takes a message and a Request, and returns the answer, or None to answer later. Calls
        that are not `limited` are neither refused nor measured. `name` is the service's name on the wire,
        if it differs.
        """
        for method in service.methods:
            path = f"/{name or service.full_name}/{method.name}"
            self._methods[path.encode()] = Method(
                service.full_name,
                method.name,
                partial(_parsed, GetMessageClass(method.input_type)),
                getattr(servicer, method.name),
                method.client_streaming,
                method.client_streaming or method.server_streaming,
                limited,
            )
            if limited:
                self._metrics.expect(service.full_name, method.name, unary=not method.client_streaming)

    def accept(self, rpc: Rpc) -> None:
        """Start or refuse a call."""
        method = self._methods.get(rpc.path)
        if method is None:
            rpc.end(StatusCode.UNIMPLEMENTED.value[0], "no such method", first=True, unwatched=True)
            return
        if method.limited:
            refusal = self._refusal(method, rpc.metadata)
            if refusal is not None:
                failure = self.failure(refusal, method)
                self._metrics.store.add(REQUESTS, method.service, method.name, failure.code.name)
                rpc.end(failure.code.value[0], failure.details, failure.trailers, first=True, unwatched=True)
                return
            self._calls += 1
        if not method.streaming:
            Call(self, method, rpc)
            return
        stream = Stream(self, method, rpc)
        self._streams.add(stream)
        if self._closing:
            stream.close()

    def close_streams(self) -> None:
        """End all present and future streams once they have answered the requests in flight."""
        self._closing = True
        for stream in tuple(self._streams):
            stream.close()

    def begin_trace(self, method: Method, rpc: Rpc) -> CallTrace | None:
        """Start the trace of a call, if it is traced."""
        if self._tracing is None or not method.limited:
            return None
        return self._tracing.begin(rpc.metadata, method.service, method.name)

    def failure(self, error: Exception, method: Method) -> Failure:
        """Return the status of an error; exceptions other than ServingError are defects, and logged."""
        if not isinstance(error, ServingError):
            log.error("call failed", method=method.name, exc_info=error)
            return Failure(StatusCode.INTERNAL, INTERNAL_MESSAGE)
        details = str(error)[:MAX_DETAILS_CHARACTERS]
        if isinstance(error, OverloadedError):
            return Failure(error.code, details, _pushback(error.retry_seconds), refused=True)
        return Failure(error.code, details)

    def finished(
        self,
        call: Call | Stream,
        code: str,
        answer: Message | None = None,
        timing: Answer | None = None,
        *,
        refused: bool = False,
    ) -> None:
        """Record a finished call; a stream is one call."""
        method = call.method
        if not method.limited:
            return
        seconds = time.monotonic() - call.started
        if refused:  # refusals have no latency
            self._metrics.store.add(REQUESTS, method.service, method.name, code)
        elif timing is None:
            self._metrics.finished(method.service, method.name, code, seconds)
        else:
            self._metrics.finished(
                method.service, method.name, code, seconds, timing.queue_seconds, timing.compute_seconds
            )
        if self._access_log.wants(seconds):
            self._access_log.finished(
                call.rpc, method.name, code, seconds, timing, unary=not method.streaming
            )
        if call.trace is not None:
            if not refused:
                trace_id = call.trace.trace_id
                self._metrics.store.exemplify(REQUEST_DURATION, method.name, value=seconds, trace_id=trace_id)
            # The field names of the two services differ; other answers have neither.
            model = getattr(answer, "model", "") or getattr(answer, "model_name", "")
            version = getattr(answer, "version", 0) or getattr(answer, "model_version", 0)
            call.trace.end(code, str(model), int(version))

    def ended(self, method: Method, size_bytes: int, stream: Stream | None = None) -> None:
        """Release a call that held `size_bytes`, on the loop's thread."""
        self.hold(-size_bytes)
        if method.limited:
            self._calls -= 1
        if stream is not None:
            self._streams.discard(stream)

    def hold(self, size_bytes: int) -> None:
        """Count bytes of messages in flight; negative to release them. On the loop's thread."""
        self._bytes += size_bytes
        while self._stalled and self._bytes < self._max_bytes:
            stream, _ = self._stalled.popitem()
            self._call_soon(stream.read)

    def has_room(self, stream: Stream) -> bool:
        """Tell whether a stream may read a message; if not, it is called when there is room."""
        if self._bytes < self._max_bytes:
            return True
        self._stalled[stream] = None
        return False

    def _refusal(self, method: Method, metadata: Metadata) -> ServingError | None:
        if self._calls >= self._max_calls:
            self._metrics.store.add(REJECTED, "calls")
            return OverloadedError(
                f"{self._calls} calls in flight, the maximum of the server", FULL_RETRY_SECONDS
            )
        if self._bytes >= self._max_bytes:
            self._metrics.store.add(REJECTED, "bytes")
            return OverloadedError(
                f"calls in flight hold {self._bytes} bytes, the maximum is {self._max_bytes}",
                FULL_RETRY_SECONDS,
            )
        return None if self._tokens is None else self._tokens.refusal(metadata, method.name)


def _parsed(request: type[Message], content: bytes | None) -> Message:
    """Parse a message; raises InvalidRequestError."""
    if content is None:
        name = request.DESCRIPTOR.full_name
        raise InvalidRequestError(f"the call ended without a message, expected one {name}")
    try:
        return request.FromString(content)
    except DecodeError:
        name = request.DESCRIPTOR.full_name
        raise InvalidRequestError(f"the message's {len(content)} bytes are not a {name}") from None


def _pushback(retry_seconds: float) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata with the retry delay for gRPC clients.

    Jittered by half, so that clients refused together do not return together.
    """
    seconds = min(max(retry_seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
    return (("grpc-retry-pushback-ms", str(round(seconds * spread * 1000))),)
