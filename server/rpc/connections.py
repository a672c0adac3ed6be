"""Limits and keepalive of connections, as gRPC channel arguments."""

import resource

import structlog

from server.errors import StartError
from server.settings import Settings

# File descriptors for the metrics port, the log and loading models.
OTHER_FILES = 64
# A limit below this is logged.
FEW_CONNECTIONS = 256
# A connection that has not started HTTP/2 (or TLS) after this time is closed.
HANDSHAKE_SECONDS = 10.0
# After this time without traffic, the server pings the client.
SILENCE_SECONDS = 60.0
# Clients may ping this often; by default gRPC allows one ping every five minutes.
CLIENT_PING_SECONDS = 0.1
# Concurrent calls of one connection; gRPC clients queue the rest.
MAX_CONNECTION_CALLS = 128

log = structlog.get_logger()


def channel_arguments(settings: Settings, max_message_bytes: int) -> list[tuple[str, int]]:
    """Return the channel arguments of the gRPC server.

    Raises the process's soft limit on open files to the hard limit: the usual 1,024 protects programs that
    call select().

    Raises:
        StartError: the limit on open files leaves no connection.

    """
    silence_ms = round(SILENCE_SECONDS * 1000)
    return [
        ("grpc.max_receive_message_length", max_message_bytes),
        ("grpc.max_allowed_incoming_connections", _max_connections(settings.max_connections)),
        ("grpc.server_handshake_timeout_ms", round(HANDSHAKE_SECONDS * 1000)),
        # Detects clients whose machine or network has failed.
        ("grpc.keepalive_time_ms", silence_ms),
        ("grpc.keepalive_timeout_ms", silence_ms),
        ("grpc.http2.ping_timeout_ms", silence_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # no limit on the server's pings
        ("grpc.http2.min_ping_interval_without_data_ms", round(CLIENT_PING_SECONDS * 1000)),
        ("grpc.max_concurrent_streams", MAX_CONNECTION_CALLS),
        # gRPC counts answered calls that are not cleaned up yet, and would refuse a client within the limit.
        ("grpc.http.overload_protection", 0),
        # Clients reconnect now and then, and so find added servers; calls and streams in flight finish.
        ("grpc.max_connection_age_ms", round(settings.connection_age_seconds * 1000)),
    ]


def _max_connections(wanted: int) -> int:
    """Raise the soft limit on open files to the hard limit; return how many connections that allows."""
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
