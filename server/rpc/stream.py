"""Streaming calls; answers are sent in the order of the requests.

A stream is bounded in messages and bytes in both directions: a caller that does not read answers blocks
only its own requests.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from google.protobuf.message import Message

from server.batching.call_queue import Answer
from server.errors import UnavailableError
from server.rpc.call import Request, ended_code
from server.rpc.server import Event, Rpc, message

if TYPE_CHECKING:
    from server.rpc.handler import Failure, Handler, Method

# Maximum number of requests of a stream whose answers are not sent: enough to fill a batch.
STREAM_WINDOW = 64


class StreamRequest(Request):
    """A request of a stream and its answer, or the answers of a subscription."""

    __slots__ = ("_stream", "answers", "complete", "error", "on_over", "on_sent", "size_bytes")

    def __init__(self, stream: "Stream", size_bytes: int) -> None:
        super().__init__(stream.rpc.deadline, None)
        self._stream = stream
        self.size_bytes = size_bytes
        self.answers: deque[bytes] = deque()
        self.complete = False
        self.error: Exception | None = None
        self.on_sent: Callable[[], None] = lambda: None  # called when every answer so far has been sent
        self.on_over: Callable[[], None] = lambda: None  # called when no more answers can be sent

    @property
    def sending(self) -> bool:
        """Whether an answer has not been sent yet."""
        return bool(self.answers) or self._stream.sending

    def reply(self, answer: Message, timing: Answer | None = None) -> None:
        """Send the only answer, in order."""
        del timing  # the timing of single messages is not recorded
        self.complete = True
        self.send(answer)

    def send(self, answer: Message) -> None:
        """Send an answer of a subscription, in order."""
        self._stream.answered(self, answer.SerializeToString())

    def drop(self) -> None:
        """Remove the request from the batcher's queue, and end its subscription."""
        super().drop()
        self.on_over()

    def fail(self, error: Exception) -> None:
        """End the stream with an error, after the answers before it."""
        self.error = error
        self._stream.pump()


class Stream:
    """A call of a streaming method."""

    def __init__(self, handler: "Handler", method: "Method", rpc: Rpc) -> None:
        self._handler = handler
        self.method = method
        self.rpc = rpc
        self.started = time.monotonic()
        self.trace = handler.begin_trace(method, rpc)
        self._lock = threading.RLock()  # answers may be sent by a batcher's thread
        self._requests: deque[StreamRequest] = deque()
        self._bytes = 0  # of requests whose answers are not sent; an answer is smaller than its request
        self.sending = False  # a message is being sent
        self._reading = self._half_closed = self._closing = self._over = False
        self._first = True  # no message has been sent
        rpc.watch(self._closed)
        self.read()

    def read(self) -> None:
        """Read the next request if there is room for it."""
        with self._lock:
            if self._reading or self._half_closed or self._closing or self._over:
                return
            full = len(self._requests) >= STREAM_WINDOW or self._bytes >= self._handler.stream_bytes
            if (self._requests and full) or not self._handler.has_room(self):
                return
            self._reading = True
        self.rpc.receive(self._received)

    def close(self) -> None:
        """Read no more requests, answer those in flight, and end the stream."""
        with self._lock:
            self._closing = True
            if not self.method.client_streaming:  # a subscription does not end by itself
                for request in self._requests:
                    request.complete = True
        self.pump()

    def answered(self, request: StreamRequest, content: bytes) -> None:
        """Queue an answer."""
        with self._lock:
            if self._over:
                return
            request.answers.append(content)
        self.pump()

    def pump(self) -> None:
        """Send the next message if none is being sent."""
        with self._lock:
            if self.sending or self._over:
                return
            requests = self._requests
            while requests:
                request = requests[0]
                if request.answers:
                    content = request.answers.popleft()
                    next_ready = request.complete and len(requests) > 1 and requests[1].answers
                    self._send(content, more=bool(request.answers or next_ready))
                    return
                if request.error is not None:
                    self._end(self._handler.failure(request.error, self.method))
                    return
                if not request.complete:
                    return
                requests.popleft().drop()
                self._hold(-request.size_bytes)
            if self._half_closed or (self._closing and not self.method.client_streaming):
                self._end(None)
            elif self._closing:
                self._end(self._handler.failure(UnavailableError("the server is stopping"), self.method))

    def _received(self, event: Event) -> None:
        content = message(event)
        with self._lock:
            self._reading = False
            if self._over or self._closing:
                return
            self._half_closed = content is None or not self.method.client_streaming
            if content is None and self.method.client_streaming:
                self.pump()
                return
            request = StreamRequest(self, len(content or b""))
            self._requests.append(request)
            self._hold(request.size_bytes)
        try:
            answer = self.method.run(self.method.parse(content), request)
            if answer is not None:
                request.reply(answer)
        except Exception as error:  # noqa: BLE001 - logged, and answered
            request.fail(error)
        self.read()

    def _send(self, content: bytes, *, more: bool) -> None:
        self.sending = True
        first, self._first = self._first, False
        self.rpc.send(content, self._sent, first=first, more=more)

    def _sent(self, _: Event) -> None:
        with self._lock:
            self.sending = False
            if self._over:
                return
            self.pump()
            idle = self._requests[0] if self._requests and not self.sending else None
        self.read()
        if idle is not None:
            idle.on_sent()

    def _hold(self, size_bytes: int) -> None:
        self._bytes += size_bytes
        self._handler.hold(size_bytes)

    def _end(self, failure: "Failure | None") -> None:
        if failure is None:
            self._finish("OK")
            self.rpc.end(first=self._first)
        else:
            self._finish(failure.code.name)
            self.rpc.end(failure.code.value[0], failure.details, failure.trailers, first=self._first)

    def _finish(self, code: str) -> None:
        """Count the stream, and release its requests."""
        self._over = True
        for request in self._requests:
            request.drop()
        self._requests.clear()
        self._handler.finished(self, code)

    def _closed(self, event: Event) -> None:
        with self._lock:
            if not self._over:
                self._finish(ended_code(event, self.rpc.deadline))
        self._handler.ended(self.method, self._bytes, self)
