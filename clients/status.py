"""From a gRPC status to one sentence that a person can act on."""

import re

import grpc

from clients.connection import Connection
from clients.errors import ServerError

# Of "connections to all backends failing; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect
# to remote host: Connection refused" only the end says something.
_CONNECT_FAILURE = re.compile(
    r"connections to all backends failing|failed to connect to all addresses|empty address list"
    r"|errors resolving|resolution failed",
    re.IGNORECASE,
)
_LAST_CAUSE = re.compile(r"(?:.*:)?([^:]+?)(?: \(\d+\))?\s*$", re.DOTALL)
_VERDICTS = {
    grpc.StatusCode.INVALID_ARGUMENT: "refused",
    grpc.StatusCode.NOT_FOUND: "refused",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "is overloaded",
    grpc.StatusCode.UNAVAILABLE: "is not available",
    grpc.StatusCode.UNIMPLEMENTED: "does not offer this call",
}


def server_error(error: grpc.RpcError, connection: Connection) -> ServerError:
    """Translate a failed call; `error` is what grpc or grpc.aio raised."""
    code = error.code() or grpc.StatusCode.UNKNOWN
    details = (error.details() or "").strip()
    return ServerError(_sentence(code, details, connection), code)


def _sentence(code: grpc.StatusCode, details: str, connection: Connection) -> str:
    address = connection.address
    if code is grpc.StatusCode.UNAVAILABLE and _CONNECT_FAILURE.search(details):
        return f"no server answers at {address} ({_cause(details)}); is digit-server running there?"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"server {address} did not answer within {connection.timeout_seconds:g} s"
    verdict = _VERDICTS.get(code, f"failed with {code.name}")
    return f"server {address} {verdict}: {details}"


def _cause(details: str) -> str:
    found = _LAST_CAUSE.match(details)
    return (found.group(1) if found else details).strip(" ]").lower()
