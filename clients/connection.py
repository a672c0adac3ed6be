"""How to reach a server: address, deadlines, retries."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import grpc.aio

from clients.errors import InputError

# HOST:PORT, [IPv6]:PORT, or one of gRPC's own schemes.
_ADDRESS = re.compile(r"([^\s/:\[\]]+|\[[0-9a-fA-F:.%]+\]):\d{1,5}|(dns|ipv4|ipv6|unix|xds):\S+")
_SERVICE = "digits.v1.PredictionService"
# Two calls of 256 images; a call larger than this buffer would not be retried.
_RETRY_BUFFER_BYTES = 2 * 256 * 784
_MAX_MESSAGE_BYTES = 16 * 2**20


@dataclass(frozen=True, kw_only=True)
class Connection:
    """Say how to reach a server.

    `timeout_seconds` is the deadline of every call, retries included; `connect_timeout_seconds`
    is how long to try an address that does not answer. A call that the server could not take
    (UNAVAILABLE, RESOURCE_EXHAUSTED) is tried again, `attempts` times in all, by gRPC itself:
    with exponential backoff and jitter, heeding the server's pushback, and no longer once a
    large share of calls fails. Raises InputError where `address` is none.
    """

    address: str = "localhost:8500"
    timeout_seconds: float = 10.0
    connect_timeout_seconds: float = 3.0
    attempts: int = 4

    def __post_init__(self) -> None:
        if not _ADDRESS.fullmatch(self.address):
            raise InputError(f"server address is {self.address!r}, expected HOST:PORT")

    def open(self) -> grpc.Channel:
        """Open a channel; the connection itself is made by the first call."""
        return grpc.insecure_channel(self.address, options=self._options())

    def open_async(self) -> grpc.aio.Channel:
        """Open a channel for asyncio."""
        return grpc.aio.insecure_channel(self.address, options=self._options())

    def _options(self) -> Sequence[tuple[str, Any]]:
        return (
            ("grpc.service_config", json.dumps(self._service_config())),
            # gRPC's name for how long one attempt to connect may take (20 s by default).
            ("grpc.min_reconnect_backoff_ms", int(self.connect_timeout_seconds * 1000)),
            ("grpc.per_rpc_retry_buffer_size", _RETRY_BUFFER_BYTES),
            ("grpc.max_receive_message_length", _MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", _MAX_MESSAGE_BYTES),
        )

    def _service_config(self) -> dict[str, Any]:
        method: dict[str, Any] = {"name": [{"service": _SERVICE}], "timeout": f"{self.timeout_seconds:.3f}s"}
        if self.attempts > 1:
            method["retryPolicy"] = {
                "maxAttempts": min(self.attempts, 5),  # gRPC allows no more
                "initialBackoff": "0.1s",
                "maxBackoff": "1s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE", "RESOURCE_EXHAUSTED"],
            }
        return {
            # A headless Kubernetes Service resolves to every pod; one address is no different.
            "loadBalancingConfig": [{"round_robin": {}}],
            "methodConfig": [method],
            "retryThrottling": {"maxTokens": 10, "tokenRatio": 0.1},
        }
