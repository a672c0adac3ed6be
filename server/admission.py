"""Who may come in: asked before a call's message is read, when a refusal still costs the least."""

import random
from collections.abc import Iterable

from server.errors import OverloadedError, ServingError
from server.metrics import Metrics
from server.tokens import Tokens

# What a caller is told to wait when the server as a whole is full: a few batches.
FULL_RETRY_SECONDS = 0.1
# Bounds of what callers are told; the lower one is about one batch.
MIN_RETRY_SECONDS, MAX_RETRY_SECONDS = 0.01, 10.0


class Admission:
    """What the calls under way in this process take, its bounds, and whose calls it answers."""

    def __init__(
        self, metrics: Metrics, *, max_calls: int, max_inflight_bytes: int, tokens: Tokens | None = None
    ) -> None:
        self._metrics = metrics
        self._max_calls = max_calls
        self._max_inflight_bytes = max_inflight_bytes
        self._tokens = tokens
        self.calls = 0
        self.message_bytes = 0

    def refusal(self, method: str, metadata: Iterable[tuple[str, str | bytes]]) -> ServingError | None:
        """Return why a call of `method` that is about to begin is refused; None lets it in."""
        if self.calls >= self._max_calls:
            self._metrics.rejected("calls")
            return OverloadedError(
                f"{self.calls} calls are under way, the most that the server takes", FULL_RETRY_SECONDS
            )
        if self.message_bytes >= self._max_inflight_bytes:
            self._metrics.rejected("bytes")
            return OverloadedError(
                f"calls under way hold {self.message_bytes} bytes, the server takes no more "
                f"past {self._max_inflight_bytes}",
                FULL_RETRY_SECONDS,
            )
        return None if self._tokens is None else self._tokens.refusal(metadata, method)


def pushback(retry_seconds: float) -> tuple[tuple[str, str], ...]:
    """Return the trailing metadata that tells gRPC clients when to try again.

    Spread by half, so that callers who were refused together do not come back together.
    """
    seconds = min(max(retry_seconds, MIN_RETRY_SECONDS), MAX_RETRY_SECONDS)
    spread = random.uniform(0.5, 1.5)  # noqa: S311 - not a secret
    return (("grpc-retry-pushback-ms", str(round(seconds * spread * 1000))),)
