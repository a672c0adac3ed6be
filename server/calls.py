"""What every call has in common: it is timed and counted, and its errors become gRPC statuses.

Handlers are wrapped once, when a service is registered: an interceptor would do the same at the price of
another coroutine and a new handler object for each call.
"""

import asyncio
import math
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import AbortError, ServicerContext

from server import gate
from server.admission import Admission
from server.call_log import CallLog
from server.errors import ServingError
from server.metrics import Metrics
from server.queued import Answer

if TYPE_CHECKING:
    from server.tracing import Tracing

log = structlog.get_logger()

Context = ServicerContext[Any, Any]
# A unary method takes one message and returns one. A method with streams on both sides takes an iterator
# of messages, sends its answers with context.write, and returns nothing.
Handler = Callable[[Any, Context], Awaitable[Message | None]]

# What the call of this task was answered with, and where its time went; nothing and nowhere if it was not.
answered: ContextVar[Answer] = ContextVar("answered", default=Answer())  # noqa: B039 - nobody changes it

INTERNAL_MESSAGE = "internal error, the server's log has the details"


@dataclass(frozen=True, slots=True)
class Observers:
    """Who learns of every call."""

    metrics: Metrics
    call_log: CallLog
    tracing: "Tracing | None" = None


def service_handler(
    service: ServiceDescriptor, servicer: object, observers: Observers, admission: Admission
) -> grpc.GenericRpcHandler:
    """Bind each method of `service` to the coroutine method of `servicer` that has its name.

    A method is unary on both sides, or streams on both.
    """
    methods: dict[str, gate.RpcMethod] = {}
    for method in service.methods:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        run, serialize = getattr(servicer, method.name), response.SerializeToString
        about = service.full_name, method.name, observers
        if method.client_streaming:
            call = observed(gate.stream(run, admission), *about, unary=False)
            methods[method.name] = grpc.stream_stream_rpc_method_handler(
                call, partial(gate.parsed, request), serialize
            )
        else:
            call = observed(gate.unary(run, request, admission), *about, unary=True)
            methods[method.name] = grpc.stream_unary_rpc_method_handler(call, None, serialize)
    return gate.Gate(service.full_name, methods, admission, observers.metrics)


def observed(handler: Handler, service: str, method: str, observers: Observers, *, unary: bool) -> Handler:
    """Wrap `handler` so that it is timed and counted, and answers its errors with their status.

    A stream is one call, from its opening to its end.

    The caller sees the message of a ServingError. Anything else is logged, and answered INTERNAL with a
    fixed message.
    """
    metrics, call_log, tracing = observers.metrics, observers.call_log, observers.tracing
    metrics.expect(service, method, unary=unary)

    async def call(request: Any, context: Context) -> Message | None:
        started = time.monotonic()
        trace = tracing.begin(context, service, method, unary=unary) if tracing else None
        response = None
        code = "CANCELLED"  # unless something else happens first
        trailers: tuple[tuple[str, str], ...] = ()
        try:
            response = await handler(request, context)
        except ServingError as error:
            code = error.code.name
            failure = error.code, str(error)
            trailers = gate.trailers(error)
        except AbortError:
            code = context.code().name
            raise
        except asyncio.CancelledError:
            if remaining_seconds(context) <= 0:  # gRPC cancels what is past its deadline, too
                code = grpc.StatusCode.DEADLINE_EXCEEDED.name
            raise
        except Exception:
            log.exception("call failed", method=method)
            code = grpc.StatusCode.INTERNAL.name
            failure = grpc.StatusCode.INTERNAL, INTERNAL_MESSAGE
        else:
            code = grpc.StatusCode.OK.name
            return response
        finally:
            # Before abort: the server may have stopped by the time that it returns (grpc/grpc#37239).
            seconds = time.monotonic() - started
            answer = answered.get()
            metrics.finished(
                service, method, code, seconds,
                queue_seconds=answer.queue_seconds, compute_seconds=answer.compute_seconds,
            )  # fmt: skip
            if call_log.wants(seconds):
                call_log.finished(context, method, code, seconds, answer, unary=unary)
            if trace:
                metrics.exemplar(method, seconds, trace.trace_id)
                trace.end(code, response)
        await context.abort(*failure, trailers)
        raise AssertionError("abort always raises")

    return call


def remaining_seconds(context: Context) -> float:
    """Return how long the caller still waits; infinity where it set no deadline."""
    remaining = context.time_remaining()
    return math.inf if remaining is None else remaining
