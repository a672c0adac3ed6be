"""What every call has in common: it is timed and counted, and its errors become gRPC statuses.

Handlers are wrapped once, when a service is registered: an interceptor would do the same at the price of
another coroutine and a new handler object for each call.
"""

import time
from collections.abc import Awaitable, Callable
from typing import Any

import grpc
import structlog
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc.aio import AbortError, ServicerContext

from server.errors import ServingError
from server.metrics import Metrics

log = structlog.get_logger()

Context = ServicerContext[Any, Any]
UnaryHandler = Callable[[Any, Context], Awaitable[Message]]


def service_handler(service: ServiceDescriptor, servicer: object, metrics: Metrics) -> grpc.GenericRpcHandler:
    """Bind each method of `service` to the coroutine method of `servicer` that has its name."""
    handlers = {}
    for method in service.methods:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        handlers[method.name] = grpc.unary_unary_rpc_method_handler(
            observed(getattr(servicer, method.name), service.full_name, method.name, metrics),
            request_deserializer=request.FromString,
            response_serializer=response.SerializeToString,
        )
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def observed(handler: UnaryHandler, service: str, method: str, metrics: Metrics) -> UnaryHandler:
    """Wrap `handler` so that it is timed and counted, and answers its errors with their status.

    The caller sees the message of a ServingError. Anything else is logged, and answered INTERNAL with a
    fixed message.
    """

    async def call(request: Message, context: Context) -> Message:
        started = time.monotonic()
        code = "CANCELLED"  # unless something else happens first
        try:
            response = await handler(request, context)
        except ServingError as error:
            code = error.code.name
            failure = error.code, str(error)
        except AbortError:
            code = context.code().name
            raise
        except Exception:
            log.exception("call failed", method=method)
            code = grpc.StatusCode.INTERNAL.name
            failure = grpc.StatusCode.INTERNAL, "internal error, the server's log has the details"
        else:
            code = grpc.StatusCode.OK.name
            return response
        finally:
            # Before abort: the server may have stopped by the time that it returns (grpc/grpc#37239).
            metrics.finished(service, method, code, time.monotonic() - started)
        await context.abort(*failure)
        raise AssertionError("abort always raises")

    return call
