"""A connection's settings: address, security, deadlines, retries."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import grpc

from clients.errors import InputError
from clients.open_inference import WIRES
from clients.wire import Wire

# HOST:PORT, [IPv6]:PORT, or one of gRPC's own schemes.
_ADDRESS = re.compile(r"([^\s/:\[\]]+|\[[0-9a-fA-F:.%]+\]):\d{1,5}|(dns|ipv4|ipv6|unix|xds):\S+")
_COMPRESSION = {
    "none": grpc.Compression.NoCompression,
    "deflate": grpc.Compression.Deflate,
    "gzip": grpc.Compression.Gzip,
}
# A call larger than this is not kept for a retry; 1,024 images fit.
_RETRY_BUFFER_BYTES = 2**20
_MAX_MESSAGE_BYTES = 16 * 2**20
# Servers may take more frequent questions for an attack; ours allows one every five seconds.
KEEPALIVE_SECONDS = 20

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Tls:
    """Name the PEM files of a TLS connection.

    `ca` holds the authorities to trust (the system's where None); `certificate` and `key` are the
    caller's own, where the server wants to know its callers; `server_name` is the name in the
    server's certificate where it is not the address's.
    """

    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    server_name: str = ""

    def credentials(self) -> grpc.ChannelCredentials:
        """Read the files; raises InputError."""
        if (self.certificate is None) != (self.key is None):
            raise InputError("TLS certificate and key come together, only one is given")
        return grpc.ssl_channel_credentials(_read(self.ca), _read(self.key), _read(self.certificate))


# CANCELLED by the server: its gRPC had more calls waiting than it takes, or closed with the call unread. What
# a caller cancels itself is not tried again.
RETRYABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Say how to reach a server.

    `timeout_seconds` is the deadline of every call, retries included; `connect_timeout_seconds`
    is how long to try an address that does not answer. A call that the server could not take
    (UNAVAILABLE, RESOURCE_EXHAUSTED, CANCELLED) is tried again, `attempts` times in all, by gRPC itself:
    with exponential backoff and jitter, heeding the server's pushback, and no longer once a
    large share of calls fails. A call without an answer after `hedge_seconds` is sent a second
    time and the first answer wins; at most one call in ten is. `token` is sent as a bearer token.
    `protocol` is our own, or the Open Inference Protocol of Triton, KServe and others, which has no
    list of models, no labels and no times.

    Raises InputError where `address` is none.
    """

    address: str = "localhost:8500"
    timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 3.0
    attempts: int = 5
    hedge_seconds: float | None = None
    tls: Tls | None = None
    token: str = ""
    compression: Literal["none", "deflate", "gzip"] = "none"
    protocol: Literal["digits", "open-inference"] = "digits"
    load_balancing: Literal["round_robin", "pick_first"] = "round_robin"

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.address):
            raise InputError(f"server address is {self.address!r}, expected HOST:PORT")

    @property
    def metadata(self) -> Metadata:
        """Metadata, deadline and compression of every call."""
        return (("authorization", f"Bearer {self.token}"),) if self.token else ()

    def open(self) -> grpc.Channel:
        """Open a channel; the connection itself is made by the first call."""
        options, compression = self._options(), _COMPRESSION[self.compression]
        if self.tls is None:
            return grpc.insecure_channel(self.address, options, compression)
        return grpc.secure_channel(self.address, self.tls.credentials(), options, compression)

    @property
    def wire(self) -> Wire:
        """The protocol's calls and messages."""
        return WIRES[self.protocol]

    def _options(self) -> Sequence[tuple[str, Any]]:
        options = [
            ("grpc.service_config", json.dumps(self._service_config())),
            # gRPC's name for how long one attempt to connect may take (20 s by default).
            ("grpc.min_reconnect_backoff_ms", int(self.connect_timeout_seconds * 1000)),
            # Pauses between attempts: shorter than those between a call's tries, and not two minutes at last.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5000),
            # A machine that vanished closes no connection: ask one that is silent whether it is still there.
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", int(self.connect_timeout_seconds * 1000)),
            ("grpc.http2.ping_timeout_ms", int(self.connect_timeout_seconds * 1000)),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            # Clients of one process share nothing; a load generator opens several connections.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.tls and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def _service_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            # A headless Kubernetes Service resolves to every pod; one address is no different.
            "loadBalancingConfig": [{self.load_balancing: {}}],
            # Past half of these tokens lost, a call fails at once: each failed try costs one, and each
            # success brings a tenth of one. A connection that breaks fails all the calls on it together,
            # which must be fewer than that half.
            "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
        }
        if self.attempts > 1:
            retry = {
                "maxAttempts": min(self.attempts, 5),  # gRPC allows no more
                "initialBackoff": "0.1s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": list(RETRYABLE),
            }
            # Health checks are not retried: they are how a command finds out at once that nothing listens.
            health = {"name": [{"service": "grpc.health.v1.Health"}]}
            config["methodConfig"] = [{"name": [{}], "retryPolicy": retry}, health]
        return config


def _read(path: Path | None) -> bytes | None:
    if path is None:
        return None
    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(f"{path}: {error.strerror}") from None
