"""gRPC's completion queue, polled by one thread; the only file that imports cygrpc.

This is the layer that grpc's own Python server is written on (`grpc/_server.py`). Polling it is also what
reads and writes the sockets. docs/adr/0009-completion-queue.md lists what is used of it, and why.
"""

import gc
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import grpc
import structlog

from server.errors import StartError

try:
    from grpc._cython import cygrpc  # type: ignore[attr-defined]  # it is not public, and has no types
except ImportError:  # Loop says so
    cygrpc = None

# Calls that gRPC may hand over at a time: enough for two batches; the rest waits inside gRPC.
OUTSTANDING_REQUESTS = 256
# Events handled before a batch runs: what has arrived is seen before the thread computes for long.
DRAINED_EVENTS = 400
TICK_SECONDS = 0.1
USED_NAMES = (
    *("Server", "CompletionQueue", "CompletionType", "SendInitialMetadataOperation", "SendMessageOperation"),
    *("SendStatusFromServerOperation", "ReceiveMessageOperation", "ReceiveCloseOnServerOperation"),
)

Metadata = Sequence[tuple[str, str | bytes]]
Event = Any  # cygrpc has no types
Then = Callable[[Event], object]

log = structlog.get_logger()


def _ignore(_: Event) -> None:
    """Do nothing: the end of the call is another event."""


class Rpc:
    """One call as gRPC knows it: any thread may start an operation; its event comes to the loop."""

    __slots__ = ("_call", "deadline", "metadata", "path")

    def __init__(self, event: Event) -> None:
        self._call = event.call
        details = event.call_details
        self.path: bytes = details.method
        # Of the monotonic clock, infinity-like where there is none.
        self.deadline: float = details.deadline - time.time() + time.monotonic()
        self.metadata: Metadata = event.invocation_metadata

    @property
    def peer(self) -> str:
        """The caller's address."""
        peer = self._call.peer()
        return peer.decode() if isinstance(peer, bytes) else str(peer)  # which of the two depends on grpcio

    def watch(self, then: Then) -> None:
        """Call `then` when the call is over, or its caller is gone: see `cancelled`."""
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), then)

    def receive(self, then: Then) -> None:
        """Read the caller's next message, and call `then` with it: see `message`."""
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), then)

    def answer(self, message: bytes) -> None:
        """Send the one message of a unary call, and the status OK."""
        operations = (
            cygrpc.SendInitialMetadataOperation((), 0),
            cygrpc.SendMessageOperation(message, 0),
            cygrpc.SendStatusFromServerOperation((), 0, b"", 0),
        )
        self._call.start_server_batch(operations, _ignore)

    def send(self, message: bytes, then: Then, *, first: bool) -> None:
        """Send one message of a stream; `then` is called when it has left. One may be under way at a time."""
        operation = cygrpc.SendMessageOperation(message, 0)
        head = (cygrpc.SendInitialMetadataOperation((), 0),) if first else ()
        self._call.start_server_batch((*head, operation), then)

    def end(
        self,
        code: int = 0,
        details: str = "",
        trailers: Metadata = (),
        *,
        first: bool,
        unwatched: bool = False,
    ) -> None:
        """Send the status: `first` where no message went before it, `unwatched` without a `watch`."""
        operations = [cygrpc.SendStatusFromServerOperation(trailers, code, details.encode(), 0)]
        if first:
            operations.insert(0, cygrpc.SendInitialMetadataOperation((), 0))
        if unwatched:
            operations.append(cygrpc.ReceiveCloseOnServerOperation(0))
        self._call.start_server_batch(operations, _ignore)


def message(event: Event) -> bytes | None:
    """Return what `receive` read; None where the caller has no more to say, or is gone."""
    content: bytes | None = event.batch_operations[0].message()
    return content


def cancelled(event: Event) -> bool:
    """Tell whether the call that `watch` watched ended before its answer."""
    return bool(event.batch_operations[0].cancelled())


class Loop:
    """The completion queue, and the one thread that serves it."""

    def __init__(self, tick: Callable[[float], None]) -> None:
        """Prepare to call `tick` about every TICK_SECONDS, with how late it is.

        Raises:
            StartError: the installed grpcio lacks something of cygrpc that is used here.

        """
        missing = [name for name in USED_NAMES if not hasattr(cygrpc, name)]
        if missing:
            raise StartError(
                f"grpcio {grpc.__version__} lacks cygrpc.{missing[0]}: install another version of it"
            )
        # A call leaves no cycles behind: looking for some every 700 objects took a tenth of the time.
        gc.set_threshold(20_000, 50, 50)
        self.queue = cygrpc.CompletionQueue()
        self.ready: set[Any] = set()  # batchers with work; `run` runs one batch
        self.idle_work: set[Any] = set()  # what runs a little, by `run`, while there is nothing else to do
        self._tick = tick
        self._soon: deque[Callable[[], None]] = deque()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call `function` on the loop's thread at its next event or tick; may be called on any thread."""
        self._soon.append(function)

    def run(self, until: Callable[[], bool]) -> None:
        """Handle events and run batches until `until()`, which is asked at each event and tick."""
        poll, ready, idle_work, soon = self.queue.poll, self.ready, self.idle_work, self._soon
        timeout = cygrpc.CompletionType.queue_timeout
        drained = 0
        ticked = time.monotonic()
        while not until():
            while soon:
                soon.popleft()()
            # A deadline in the past asks for what is there; any other is of the calendar's clock.
            event = poll(0.0 if ready or idle_work else time.time() + TICK_SECONDS)
            if event.completion_type != timeout:
                try:
                    event.tag(event)
                except Exception:
                    log.exception("event failed")  # one call's defect shall not end the others
                drained += 1
                if drained < DRAINED_EVENTS:
                    continue
            drained = 0
            for runner in tuple(ready or idle_work):
                runner.run()
            now = time.monotonic()
            if now >= ticked + TICK_SECONDS:
                self._tick(now - ticked - TICK_SECONDS)
                ticked = now


class Server:
    """A gRPC server on a loop: where callers connect to, and what accepts their calls."""

    def __init__(self, loop: Loop, accept: Callable[[Rpc], None], options: Sequence[tuple[str, int]]) -> None:
        self._loop = loop
        self._accept = accept
        self._server = cygrpc.Server(tuple(options), False)
        self._server.register_completion_queue(loop.queue)
        self.stopped = False

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Bind an address, and return the port; 0 where it cannot be bound."""
        # The layer below has no public way to credentials.
        inner = () if credentials is None else (credentials._credentials,)  # type: ignore[attr-defined]  # noqa: SLF001
        try:
            port: int = self._server.add_http2_port(address.encode(), *inner)
        except RuntimeError:
            return 0
        return port

    def start(self) -> None:
        """Begin to accept calls."""
        self._server.start()
        for _ in range(OUTSTANDING_REQUESTS):
            self._request()

    def _request(self) -> None:
        self._server.request_call(self._loop.queue, self._loop.queue, self._arrived)

    def _arrived(self, event: Event) -> None:
        if event.success:  # else the server is shutting down, and the event's call is not valid
            self._request()
            self._accept(Rpc(event))

    def shut_down(self) -> None:
        """Refuse new connections and calls, and let those under way finish: then `stopped` is true."""
        self._server.shutdown(self._loop.queue, self._ended)

    def _ended(self, _: Event) -> None:
        self.stopped = True

    def cancel_calls(self) -> None:
        """End every call that is under way."""
        self._server.cancel_all_calls()
