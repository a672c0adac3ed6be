"""Settings of a connection: address, security, deadlines, retries."""

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
# Retry buffer per call; larger calls are not retried. 1,024 images fit.
_RETRY_BUFFER_BYTES = 2**20
_MAX_MESSAGE_BYTES = 16 * 2**20
# Servers may refuse more frequent pings; ours allows one every five seconds.
KEEPALIVE_SECONDS = 20

Metadata = tuple[tuple[str, str], ...]


@dataclass(frozen=True, kw_only=True)
class Tls:
    """The PEM files of a TLS connection.

    `ca` has the authorities to trust (None: the system's); `certificate` and `key` are for servers that
    require client certificates; `server_name` is the name in the server's certificate if the address has
    another.
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


# Servers send CANCELLED for calls that they had not read when they stopped, or that exceeded a limit of gRPC.
# Calls cancelled by the caller are not retried.
_RETRYABLE = ("UNAVAILABLE", "RESOURCE_EXHAUSTED", "CANCELLED")


@dataclass(frozen=True, kw_only=True)
class Connection:
    """How to reach a server.

    `timeout_seconds` is the deadline of every call, retries included; `connect_timeout_seconds` limits a
    connection attempt. gRPC retries UNAVAILABLE, RESOURCE_EXHAUSTED and CANCELLED, up to `attempts` attempts
    in all, with exponential backoff, jitter, the server's pushback, and a retry budget. A call that is not
    answered after `hedge_seconds` is sent a second time, at most one call in ten; the first answer wins.
    `token` is sent as a bearer token. `protocol` is `digits`, or `open-inference`, which has no list of
    models, labels or durations.

    Raises InputError if `address` is invalid.
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
            # Limits a connection attempt (20 s by default).
            ("grpc.min_reconnect_backoff_ms", int(self.connect_timeout_seconds * 1000)),
            # Delays between connection attempts: below those between retries; by default they grow to two
            # minutes.
            ("grpc.initial_reconnect_backoff_ms", 100),
            ("grpc.max_reconnect_backoff_ms", 5000),
            # Detects servers whose machine or network has failed.
            ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
            ("grpc.keepalive_timeout_ms", int(self.connect_timeout_seconds * 1000)),
            ("grpc.http2.ping_timeout_ms", int(self.connect_timeout_seconds * 1000)),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
            # One connection per client: a load generator opens several.
            ("grpc.use_local_subchannel_pool", 1),
        ]
        if self.tls and self.tls.server_name:
            options.append(("grpc.ssl_target_name_override", self.tls.server_name))
        return options

    def _service_config(self) -> dict[str, Any]:
        config: dict[str, Any] = {
            # Balances over all pods of a headless Kubernetes Service.
            "loadBalancingConfig": [{"round_robin": {}}],
            # Retry budget: a failure costs one token, a success returns a tenth, and below half of them calls
            # are not retried. A broken connection fails all of its calls at once, which must be fewer than
            # half.
            "retryThrottling": {"maxTokens": 1000, "tokenRatio": 0.1},
        }
        if self.attempts > 1:
            retry = {
                "maxAttempts": min(self.attempts, 5),  # gRPC's maximum
                "initialBackoff": "0.1s",
                "maxBackoff": "3s",
                "backoffMultiplier": 3,
                "retryableStatusCodes": list(_RETRYABLE),
            }
            # Health checks are not retried: commands use them to find out at once that nothing listens.
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
