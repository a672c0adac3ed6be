"""Error messages for failed calls: the address, the cause and what to try."""

import os
import re

import grpc

from clients.connection import Connection
from clients.errors import ServerError

_CONNECT_FAILURE = re.compile(
    r"connections to all backends failing|failed to connect to all addresses|empty address list"
    r"|errors resolving|resolution failed",
    re.IGNORECASE,
)
# The useful end of "...; last error: UNKNOWN: ipv4:127.0.0.1:1: Failed to connect to remote host: Connection
# refused".
_LAST_CAUSE = re.compile(r"(?:.*:)?([^:]+?)(?: \(\d+\))?\s*$", re.DOTALL)
_VERDICTS = {
    grpc.StatusCode.INVALID_ARGUMENT: "refused",
    grpc.StatusCode.NOT_FOUND: "refused",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "is overloaded",
    grpc.StatusCode.UNAVAILABLE: "is not available",
    grpc.StatusCode.UNIMPLEMENTED: "does not offer this call",
}
# gRPC's details of a failed connection, the cause, and what to try.
_CAUSES = (
    (r"WRONG_VERSION_NUMBER", "it does not speak TLS", "try without TLS (--tls, --tls-ca)"),
    (
        r"CERTIFICATE_VERIFY_FAILED: (.*?)(?:: OK)?$",
        "its TLS certificate is not trusted: {}",
        "name its authority with --tls-ca FILE",
    ),
    (
        r"Hostname Verification|Peer name",
        "its TLS certificate is for another name",
        "use the name in the certificate",
    ),
    (r"HTTP proxy returned response code (\d+)", "the proxy answered {}", ""),
    (
        r"Failed parsing HTTP/2",
        "it does not speak gRPC",
        "is this the HTTP port? the gRPC port is 8500 by default",
    ),
    (
        r"Socket closed|Connection reset",
        "it closed the connection at once",
        "does it expect TLS? try --tls or --tls-ca FILE",
    ),
)
_PROXIES = ("grpc_proxy", "https_proxy", "http_proxy")
_EXCEPTIONS = ("no_grpc_proxy", "no_proxy")


def server_error(error: grpc.RpcError, connection: Connection) -> ServerError:
    """Convert a failed call to a ServerError."""
    code = error.code() or grpc.StatusCode.UNKNOWN
    details = (error.details() or "").strip()
    return ServerError(_sentence(code, details, connection), code)


def _sentence(code: grpc.StatusCode, details: str, connection: Connection) -> str:
    address = connection.address
    if code is grpc.StatusCode.UNAVAILABLE and _CONNECT_FAILURE.search(details):
        cause, advice = _cause(details)
        if proxy := _proxy(address):
            excluding = f"no_grpc_proxy={_host(address)} connects directly"
            advice = f"{proxy} in the environment sends the connection through a proxy; {excluding}"
        return f"no server answers at {address} ({cause}); {advice}"
    if code is grpc.StatusCode.DEADLINE_EXCEEDED:
        return f"server {address} did not answer within {connection.timeout_seconds:g} s"
    verdict = _VERDICTS.get(code, f"failed with {code.name}")
    return f"server {address} {verdict}: {details}"


def _cause(details: str) -> tuple[str, str]:
    for pattern, cause, advice in _CAUSES:
        if found := re.search(pattern, details):
            return cause.format(*found.groups()), advice
    found = _LAST_CAUSE.match(details)
    cause = (found.group(1) if found else details).strip(" ]").lower()
    return cause, "is digit-server running there? (--server HOST:PORT names another, --wait 30 waits)"


def _proxy(address: str) -> str:
    """Return the environment variable by which gRPC sends `address` through a proxy; "" if there is none."""
    environment = os.environ
    variable = next((name for name in _PROXIES if environment.get(name)), "")
    direct = next((environment[name] for name in _EXCEPTIONS if environment.get(name)), "")
    excluded = [suffix.strip() for suffix in direct.split(",") if suffix.strip()]
    if not variable or address.startswith("unix:") or _host(address).endswith(tuple(excluded)):
        return ""
    return f"{variable}={environment[variable]}"


def _host(address: str) -> str:
    return address.rpartition("/")[2].rpartition(":")[0]
