"""How a call comes in: asked for before its message is read, and read as bytes that are ours to decode.

To gRPC every method here takes a stream: it would read a unary call's message, however large, before it asks
for the method's handler to be run.
"""

from collections.abc import Awaitable, Callable, Mapping
from typing import Any, TypeAlias

import grpc
from google.protobuf.message import DecodeError, Message
from grpc.aio import EOF, ServicerContext

from server.admission import Admission, pushback
from server.errors import InvalidRequestError, OverloadedError, ServingError
from server.metrics import Metrics

RpcMethod: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"
Run = Callable[[Any, ServicerContext[Any, Any]], Awaitable[Message | None]]


class Gate(grpc.GenericRpcHandler):
    """Finds what answers a call of one service, and refuses the call where there is no room for it."""

    def __init__(
        self, service: str, methods: Mapping[str, RpcMethod], admission: Admission, metrics: Metrics
    ) -> None:
        self._methods = {f"/{service}/{name}": (name, method) for name, method in methods.items()}
        self._service = service
        self._admission = admission
        self._metrics = metrics

    def service(self, details: grpc.HandlerCallDetails) -> "RpcMethod | None":
        """Return what answers a call; None where the method is not this service's."""
        found = self._methods.get(details.method)
        if found is None:
            return None
        name, method = found
        refusal = self._admission.refusal(name, details.invocation_metadata)
        return method if refusal is None else self._refusing(name, refusal)

    def _refusing(self, name: str, error: ServingError) -> RpcMethod:
        async def refuse(_: object, context: ServicerContext[Any, Any]) -> None:
            # A sixth cheaper than context.abort, which raises.
            context.set_code(error.code)
            context.set_details(str(error))
            context.set_trailing_metadata(trailers(error))
            self._metrics.finished(self._service, name, error.code.name, 0.0)

        return grpc.stream_stream_rpc_method_handler(refuse)


def unary(run: Run, request: type[Message], admission: Admission) -> Run:
    """Let `run` have the one message of a call, and count what the call takes until it ends."""

    async def call(_: object, context: ServicerContext[Any, Any]) -> Message | None:
        admission.calls += 1
        size_bytes = 0
        try:
            content = await received(request, context)
            size_bytes = len(content)
            admission.message_bytes += size_bytes
            return await run(parsed(request, content), context)
        finally:
            admission.calls -= 1
            admission.message_bytes -= size_bytes

    return call


def stream(run: Run, admission: Admission) -> Run:
    """Count a stream as one call until it ends."""

    async def call(requests: object, context: ServicerContext[Any, Any]) -> Message | None:
        admission.calls += 1
        try:
            return await run(requests, context)
        finally:
            admission.calls -= 1

    return call


async def received(request: type[Message], context: ServicerContext[Any, Any]) -> bytes:
    """Return the bytes of a call's one message; raises InvalidRequestError where there is none."""
    content: Any = await context.read()
    if content is EOF:
        name = request.DESCRIPTOR.full_name
        raise InvalidRequestError(f"the call ended without a message, expected one {name}")
    return bytes(content)


def parsed(request: type[Message], content: bytes) -> Message:
    """Return the message in `content`; raises InvalidRequestError where there is none."""
    try:
        return request.FromString(content)
    except DecodeError:
        name = request.DESCRIPTOR.full_name
        raise InvalidRequestError(f"the message's {len(content)} bytes are no {name}") from None


def trailers(error: ServingError) -> tuple[tuple[str, str], ...]:
    """Return what goes with an error's status: when to try again, where that may help."""
    return pushback(error.retry_seconds) if isinstance(error, OverloadedError) else ()
