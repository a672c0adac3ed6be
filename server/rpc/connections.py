"""Connections: how many there may be, and how a connection without another end is noticed."""

import resource

import structlog

from server.errors import StartError
from server.settings import Settings

# File descriptors for all but callers: the metrics port, the log, a model that is being loaded.
OTHER_FILES = 64
# A smaller limit than this is worth a line.
FEW_CONNECTIONS = 256
# A connection that has not begun HTTP/2 by then is closed.
HANDSHAKE_SECONDS = 10.0
# How long a connection may be silent before it is asked whether its other end is there.
SILENCE_SECONDS = 60.0
# A client that wants to notice a dead server may ping so often; gRPC allows one ping every five minutes.
CLIENT_PING_SECONDS = 0.1
# Calls of one connection that are under way; gRPC clients keep the rest until there is room.
MAX_CONNECTION_CALLS = 128

log = structlog.get_logger()


def channel_arguments(settings: Settings, max_message_bytes: int) -> list[tuple[str, int]]:
    """Return the arguments of a gRPC server that bound its messages and connections.

    The process may open as many files as the system lets it from then on: the usual soft limit of 1,024 is
    there for programs that call select().

    Raises:
        StartError: the limit on open files leaves no connection.

    """
    silence_ms = round(SILENCE_SECONDS * 1000)
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_allowed_incoming_connections", _max_connections(settings.max_connections)),
        ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_SECONDS * 1000)),
        # The end of a connection gets lost with the machine or the network that it led to.
        ("grpc.keepalive_time_ms", silence_ms),
        ("grpc.keepalive_timeout_ms", silence_ms),
        ("grpc.http2.ping_timeout_ms", silence_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # no limit on ours
        ("grpc.http2.min_ping_interval_without_data_ms", round(CLIENT_PING_SECONDS * 1000)),
        ("grpc.max_concurrent_streams", MAX_CONNECTION_CALLS),
        # gRPC would count answered calls not cleaned up yet, and refuse a client that keeps to the limit.
        ("grpc.http.overload_protection", 0),
        # A client that never leaves never sees a server that was added. Calls and streams under way go on.
        ("grpc.max_connection_age_ms", round(settings.connection_age_seconds * 1000)),
    ]


def _max_connections(wanted: int) -> int:
    """Raise the soft limit of open files to the hard one, and return how many connections it leaves."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard == resource.RLIM_INFINITY:
        return wanted
    left = hard - OTHER_FILES
    if left < 1:
        raise StartError(f"the limit on open files is {hard}, expected more than {OTHER_FILES}: raise it")
    if left < min(wanted, FEW_CONNECTIONS):
        log.warning(
            "few connections", connections=left, open_files=hard, hint="raise the limit on open files"
        )
    return min(wanted, left)
