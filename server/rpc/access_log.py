"""The access log: slow calls, and with debug on every call; never the contents of messages."""

import re
import time
from typing import Any

import structlog

from server.batching.call_queue import Answer
from server.observability import logs
from server.rpc.server import Rpc

# Maximum number of lines per second: slow calls come in bursts.
MAX_SLOW_LINES = 10
REQUEST_ID = "x-request-id"
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
MAX_ID_CHARACTERS = 128

log = structlog.get_logger()


class AccessLog:
    """Chooses the calls to log, and logs them."""

    def __init__(self, slow_seconds: float) -> None:
        """Log unary calls that take `slow_seconds`; 0 logs none."""
        self._slow_seconds = slow_seconds or float("inf")
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def wants(self, seconds: float) -> bool:
        """Tell whether to log a call that took this long."""
        return seconds >= self._slow_seconds or logs.debugging()

    def finished(  # noqa: PLR0913 - what there is to know of a call
        self, rpc: Rpc, method: str, code: str, seconds: float, answer: Answer | None, *, unary: bool
    ) -> None:
        """Log a call, within the limit of lines per second."""
        if unary and seconds >= self._slow_seconds:
            if (left_out := self._left_out_before()) is not None:
                more = {"left_out": left_out} if left_out else {}
                log.warning("slow call", **_facts(rpc, method, code, seconds, answer), **more)
        elif logs.debugging():  # the duration of a stream is the caller's choice
            log.info("call", **_facts(rpc, method, code, seconds, answer))

    def _left_out_before(self) -> int | None:
        """Return how many slow calls were not logged before this one; None if this one is not either."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines == MAX_SLOW_LINES:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def _facts(rpc: Rpc, method: str, code: str, seconds: float, answer: Answer | None) -> dict[str, Any]:
    facts: dict[str, Any] = {"method": method, "code": code, "ms": round(seconds * 1e3, 3)}
    if answer is not None:
        facts |= {
            "images": len(answer.digits),
            "queue_ms": round(answer.queue_seconds * 1e3, 3),
            "compute_ms": round(answer.compute_seconds * 1e3, 3),
            "batch_images": answer.batch_images,
        }
    for key, content in rpc.metadata:
        if key == REQUEST_ID and isinstance(content, str):
            facts["request_id"] = content[:MAX_ID_CHARACTERS]
        elif key == "traceparent" and isinstance(content, str) and (match := TRACEPARENT.fullmatch(content)):
            facts["trace_id"] = match[1]
    return facts | {"peer": rpc.peer}
