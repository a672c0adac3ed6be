"""A log line for calls that are slow, and for a sample of the others."""

import random
import re
import time
from typing import Any

import structlog
from grpc.aio import ServicerContext

from server import log
from server.queued import Answer

# Slow calls come in crowds: what a second may log.
MAX_SLOW_LINES = 10
REQUEST_ID = "x-request-id"
# https://www.w3.org/TR/trace-context/#traceparent-header
TRACEPARENT = re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}")
MAX_ID_CHARACTERS = 128

logger = structlog.get_logger()


class CallLog:
    """Decides which calls are worth a line, and writes it; never what is in their messages."""

    def __init__(self, *, sample: float, slow_seconds: float) -> None:
        self._sample = sample
        self._slow_seconds = slow_seconds or float("inf")
        self._second = 0
        self._lines = 0
        self._left_out = 0

    def wants(self, seconds: float) -> bool:
        """Tell whether a call that took so long gets a line, or is slow and may."""
        return (
            seconds >= self._slow_seconds
            or (self._sample > 0 and random.random() < self._sample)  # noqa: S311 - a sample is no secret
            or log.debugging()
        )

    def finished(  # noqa: PLR0913 - what there is to know of a call
        self,
        context: ServicerContext[Any, Any],
        method: str,
        code: str,
        seconds: float,
        answer: Answer,
        *,
        unary: bool,
    ) -> None:
        """Write a line for a call that is wanted; slow ones share a few lines a second."""
        if unary and seconds >= self._slow_seconds:
            if (left_out := self._left_out_before()) is not None:
                more = {"left_out": left_out} if left_out else {}
                logger.warning("slow call", **_facts(context, method, code, seconds, answer), **more)
        else:
            logger.info("call", **_facts(context, method, code, seconds, answer))

    def _left_out_before(self) -> int | None:
        """Return how many slow calls went without a line before this one; None if it does too."""
        second = int(time.monotonic())
        if second != self._second:
            self._second, self._lines = second, 0
        if self._lines == MAX_SLOW_LINES:
            self._left_out += 1
            return None
        self._lines += 1
        left_out, self._left_out = self._left_out, 0
        return left_out


def _facts(
    context: ServicerContext[Any, Any], method: str, code: str, seconds: float, answer: Answer
) -> dict[str, Any]:
    facts: dict[str, Any] = {"method": method, "code": code, "ms": round(seconds * 1e3, 3)}
    if answer.digits:
        facts |= {
            "images": len(answer.digits),
            "queue_ms": round(answer.queue_seconds * 1e3, 3),
            "compute_ms": round(answer.compute_seconds * 1e3, 3),
            "batch_images": answer.batch_images,
        }
    for key, content in context.invocation_metadata() or ():
        if key == REQUEST_ID and isinstance(content, str):
            facts["request_id"] = content[:MAX_ID_CHARACTERS]
        elif key == "traceparent" and isinstance(content, str) and (match := TRACEPARENT.fullmatch(content)):
            facts["trace_id"] = match[1]
    return facts | {"peer": context.peer()}
