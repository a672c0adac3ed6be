"""Connections: how many there may be, and how one that nobody holds the other end of is noticed."""

import resource

from server.settings import Settings

# File descriptors for all but callers: the metrics port, the log, a model that is being loaded.
OTHER_FILES = 64
# A client that wants to notice a dead server may ask so often; gRPC allows one ping every five minutes.
CLIENT_PING_SECONDS = 5


def options(settings: Settings) -> list[tuple[str, int]]:
    """Return the options of a gRPC server that bound its connections.

    The process may open as many files as the system lets it from then on: the usual soft limit of 1,024 is
    there for programs that call select().
    """
    silence_ms = round(settings.keepalive_seconds * 1000)
    return [
        ("grpc.max_allowed_incoming_connections", min(settings.max_connections, _files() - OTHER_FILES)),
        # Who connects and says nothing.
        ("grpc.server_handshake_timeout_ms", silence_ms),
        # Who was there and may be gone: the end of a connection gets lost with the machine or the network
        # that it led to.
        ("grpc.keepalive_time_ms", silence_ms),
        ("grpc.keepalive_timeout_ms", silence_ms),
        ("grpc.http2.ping_timeout_ms", silence_ms),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.http2.max_pings_without_data", 0),  # no limit on ours
        ("grpc.http2.min_recv_ping_interval_without_data_ms", CLIENT_PING_SECONDS * 1000),
        # Who sends more calls than are answered: its client keeps the rest, which costs the server nothing.
        ("grpc.max_concurrent_streams", settings.max_connection_calls),
        # What comes faster than it is taken up: gRPC ends it, without a status of our choice, for a fraction of
        # what a refusal of ours costs.
        ("grpc.server.max_pending_requests", settings.max_pending_calls),
        ("grpc.server.max_pending_requests_hard_limit", 2 * settings.max_pending_calls),
        # gRPC would count calls that are answered and not cleaned up yet, and refuse who keeps to the limit.
        ("grpc.http.overload_protection", 0),
        # Who never leaves, and so never sees a server that was added. Calls and streams under way go on.
        ("grpc.max_connection_age_ms", round(settings.connection_age_seconds * 1000)),
    ]


def _files() -> int:
    """Raise the soft limit of open files to the hard one, and return it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard
