"""The services that every gRPC server has, health and reflection: never refused, and not measured."""

from collections.abc import AsyncIterator, Sequence
from functools import partial
from inspect import isasyncgen
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from server.calls import Context
from server.errors import ServingError
from server.gate import parsed, received


def add_guest(
    server: grpc.aio.Server, service: ServiceDescriptor, servicer: Any, *, apart: Sequence[str] = ()
) -> None:
    """Let `server` answer the methods of a service.

    Those in `apart` have a queue of their own inside gRPC: they are answered while calls of other methods wait
    there, or are refused there because too many do. Each costs every call of the server half a microsecond.
    """
    handlers = _handlers(service, servicer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service.full_name, handlers),))
    server.add_registered_method_handlers(service.full_name, {name: handlers[name] for name in apart})


def _handlers(service: ServiceDescriptor, servicer: Any) -> "dict[str, grpc.RpcMethodHandler[Any, Any]]":
    """Bind each method of `service` to the method of `servicer` that has its name.

    That is a coroutine, or an asynchronous generator of answers. As with the gate's, its messages are read and
    decoded here: gRPC answers INTERNAL to one that is none, and nothing at all to a call without one.
    """
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in service.methods:
        request, response = GetMessageClass(method.input_type), GetMessageClass(method.output_type)
        call = partial(_call, getattr(servicer, method.name), None if method.client_streaming else request)
        parse = partial(parsed, request) if method.client_streaming else None
        handlers[method.name] = grpc.stream_stream_rpc_method_handler(call, parse, response.SerializeToString)
    return handlers


async def _call(
    run: Any, one: type[Message] | None, requests: AsyncIterator[Message], context: Context
) -> None:
    """Run a method: on the one message of the call, or on all its messages where `one` is None."""
    try:
        answers = run(requests if one is None else parsed(one, await received(one, context)), context)
        if isasyncgen(answers):
            async for answer in answers:
                await context.write(answer)
        elif (answer := await answers) is not None:
            await context.write(answer)
    except ServingError as error:
        failure = error.code, str(error)
    else:
        return
    await context.abort(*failure)
