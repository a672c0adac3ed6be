"""A call as services see it: a deadline, and one answer or error, possibly later and on any thread."""

import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from server.batching.call_queue import Answer, QueuedCall, Reply
from server.errors import ServingError
from server.observability.tracing import CallTrace
from server.rpc.server import Event, Rpc, cancelled, message

if TYPE_CHECKING:
    from server.rpc.handler import Handler, Method

CANCELLED, DEADLINE_EXCEEDED = "CANCELLED", "DEADLINE_EXCEEDED"
# gRPC ends a call at its deadline by another clock, which differs a little.
CLOCK_SECONDS = 0.001
# A call may end on the loop's thread and on a batcher's thread at once: the first one counts it.
_ending = threading.Lock()


class Request(ABC):
    """One request message: that of a unary call, or one of a stream."""

    __slots__ = ("deadline", "queued", "trace")

    def __init__(self, deadline: float, trace: CallTrace | None) -> None:
        self.deadline = deadline  # monotonic seconds
        self.trace = trace
        self.queued: QueuedCall | None = None  # set by the service; cancelled when the caller goes away

    @abstractmethod
    def reply(self, answer: Message, timing: Answer | None = None) -> None:
        """Send the answer; `timing` has its queue and compute durations."""

    @abstractmethod
    def fail(self, error: Exception) -> None:
        """Send the status of a ServingError; other exceptions are logged and become INTERNAL."""

    def answering(self, respond: Callable[[Answer], Message]) -> Reply:
        """Return a reply for the batcher, which sends `respond(answer)` or the error."""

        def reply(outcome: Answer | ServingError) -> None:
            if isinstance(outcome, ServingError):
                self.fail(outcome)
                return
            try:
                self.reply(respond(outcome), outcome)
            except Exception as error:  # noqa: BLE001 - logged, and answered
                self.fail(error)

        return reply

    def drop(self) -> None:
        """Remove the request from the batcher's queue: its caller is gone."""
        if self.queued is not None:
            self.queued.cancelled = True
            self.queued = None  # it refers to this object; breaks the cycle


class Call(Request):
    """A call of a unary method."""

    __slots__ = ("_bytes", "_finished", "_handler", "method", "rpc", "started")

    def __init__(self, handler: "Handler", method: "Method", rpc: Rpc) -> None:
        super().__init__(rpc.deadline, handler.begin_trace(method, rpc))
        self._handler = handler
        self._finished = False
        self._bytes = 0
        self.method = method
        self.rpc = rpc
        self.started = time.monotonic()
        rpc.watch(self._closed)
        rpc.receive(self._received)

    def reply(self, answer: Message, timing: Answer | None = None) -> None:
        """Send the answer, unless the call is over."""
        content = answer.SerializeToString()
        if self._finish("OK", answer, timing):
            self.rpc.answer(content)

    def fail(self, error: Exception) -> None:
        """Send an error, unless the call is over."""
        failure = self._handler.failure(error, self.method)
        if self._finish(failure.code.name, refused=failure.refused):
            self.rpc.end(failure.code.value[0], failure.details, failure.trailers, first=True)

    def _received(self, event: Event) -> None:
        try:
            content = message(event)
            if content is not None:
                self._bytes = len(content)
                self._handler.hold(self._bytes)
            answer = self.method.run(self.method.parse(content), self)
            if answer is not None:
                self.reply(answer)
        except Exception as error:  # noqa: BLE001 - logged, and answered
            self.fail(error)

    def _closed(self, event: Event) -> None:
        self.drop()
        if not self._finished:
            self._finish(ended_code(event, self.deadline))
        self._handler.ended(self.method, self._bytes)

    def _finish(
        self, code: str, answer: Message | None = None, timing: Answer | None = None, *, refused: bool = False
    ) -> bool:
        """Count the call once; return whether this was the first end."""
        with _ending:
            if self._finished:
                return False
            self._finished = True
        self._handler.finished(self, code, answer, timing, refused=refused)
        return True


def ended_code(event: Event, deadline: float) -> str:
    """Return the status of a call that ended before it was answered."""
    late = time.monotonic() + CLOCK_SECONDS >= deadline
    return DEADLINE_EXCEEDED if cancelled(event) and late else CANCELLED
