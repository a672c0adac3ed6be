"""gRPC's completion queue, polled by one thread; the only file that imports cygrpc.

grpc's own Python server (`grpc/_server.py`) is built on the same layer. Polling the queue also reads and
writes the sockets. docs/adr/0009-completion-queue.md lists what is used of it, and why.
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
    from grpc._cython import cygrpc  # type: ignore[attr-defined]  # not public, without types
except ImportError:  # Loop says so
    cygrpc = None

# Accept operations in the queue: enough for two batches; other calls wait inside gRPC.
OUTSTANDING_REQUESTS = 256
# Maximum number of events handled before a batch runs, which blocks the thread for milliseconds.
DRAINED_EVENTS = 400
# Polls without an event before a batch runs. One can find nothing while other connections have calls: with
# eight of them, batches held 3 of 16 waiting images, and latencies were three times as long.
QUIET_POLLS = 4
TICK_SECONDS = 0.1
WRITE_BUFFER_HINT = 1  # GRPC_WRITE_BUFFER_HINT of grpc_types.h
USED_NAMES = (
    *("Server", "CompletionQueue", "CompletionType", "SendInitialMetadataOperation", "SendMessageOperation"),
    *("SendStatusFromServerOperation", "ReceiveMessageOperation", "ReceiveCloseOnServerOperation"),
)

Metadata = Sequence[tuple[str, str | bytes]]
Event = Any  # cygrpc has no types
Then = Callable[[Event], object]

log = structlog.get_logger()


def _ignore(_: Event) -> None:
    """Do nothing; the end of the call is a separate event."""


class Rpc:
    """A gRPC call: any thread may start an operation; its event arrives in the loop."""

    __slots__ = ("_call", "deadline", "metadata", "path")

    def __init__(self, event: Event) -> None:
        self._call = event.call
        details = event.call_details
        self.path: bytes = details.method
        # Monotonic seconds; very large without a deadline.
        self.deadline: float = details.deadline - time.time() + time.monotonic()
        self.metadata: Metadata = event.invocation_metadata

    @property
    def peer(self) -> str:
        """The caller's address."""
        peer = self._call.peer()
        return (
            peer.decode() if isinstance(peer, bytes) else str(peer)
        )  # bytes or str, by the version of grpcio

    def watch(self, then: Then) -> None:
        """Call `then` when the call has ended; `cancelled` then tells whether the caller is gone."""
        self._call.start_server_batch((cygrpc.ReceiveCloseOnServerOperation(0),), then)

    def receive(self, then: Then) -> None:
        """Read the caller's next message; call `then`, which reads it from `message`."""
        self._call.start_server_batch((cygrpc.ReceiveMessageOperation(0),), then)

    def answer(self, message: bytes) -> None:
        """Send the one message of a unary call, and the status OK."""
        operations = (
            cygrpc.SendInitialMetadataOperation((), 0),
            cygrpc.SendMessageOperation(message, 0),
            cygrpc.SendStatusFromServerOperation((), 0, b"", 0),
        )
        self._call.start_server_batch(operations, _ignore)

    def send(self, message: bytes, then: Then, *, first: bool, more: bool = False) -> None:
        """Send one message of a stream, one at a time; `then` is called when it has been sent.

        With `more`, gRPC may keep it until the next message, and write both to the socket at once.
        """
        # Not for the first one: its headers would wait to be written, and `then` for the headers.
        operation = cygrpc.SendMessageOperation(message, WRITE_BUFFER_HINT if more and not first else 0)
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
        """Send the status; `first` if no message was sent before, `unwatched` if `watch` was not called."""
        operations = [cygrpc.SendStatusFromServerOperation(trailers, code, details.encode(), 0)]
        if first:
            operations.insert(0, cygrpc.SendInitialMetadataOperation((), 0))
        if unwatched:
            operations.append(cygrpc.ReceiveCloseOnServerOperation(0))
        self._call.start_server_batch(operations, _ignore)


def message(event: Event) -> bytes | None:
    """Return the message that `receive` read; None at the end of the stream or if the caller is gone."""
    content: bytes | None = event.batch_operations[0].message()
    return content


def cancelled(event: Event) -> bool:
    """Tell whether the watched call ended before its answer."""
    return bool(event.batch_operations[0].cancelled())


class Loop:
    """The completion queue and the thread that polls it."""

    def __init__(self, tick: Callable[[float], None]) -> None:
        """Create the queue; `tick` is called about every TICK_SECONDS, with its lag.

        Raises:
            StartError: the installed grpcio lacks a part of cygrpc that is used here.

        """
        missing = [name for name in USED_NAMES if not hasattr(cygrpc, name)]
        if missing:
            raise StartError(
                f"grpcio {grpc.__version__} lacks cygrpc.{missing[0]}: install another version of it"
            )
        # Calls leave no reference cycles; collecting every 700 objects took a tenth of the time.
        gc.set_threshold(20_000, 50, 50)
        self.queue = cygrpc.CompletionQueue()
        self.ready: set[Any] = set()  # batchers with queued calls
        self.idle_work: set[Any] = set()  # shadows with queued images, run while idle
        self._tick = tick
        self._soon: deque[Callable[[], None]] = deque()

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call `function` on the loop's thread at its next event or tick; thread-safe."""
        self._soon.append(function)

    def run(self, until: Callable[[], bool]) -> None:
        """Handle events and run batches until `until()`, which is called at each event and tick."""
        poll, ready, idle_work, soon = self.queue.poll, self.ready, self.idle_work, self._soon
        timeout = cygrpc.CompletionType.queue_timeout
        drained = quiet = 0
        ticked = time.monotonic()
        while not until():
            while soon:
                soon.popleft()()
            # Unix time; a deadline in the past polls without waiting.
            event = poll(0.0 if ready or idle_work else time.time() + TICK_SECONDS)
            if event.completion_type != timeout:
                try:
                    event.tag(event)
                except Exception:
                    log.exception("event failed")  # a defect in one call must not end the others
                drained, quiet = drained + 1, 0
                if drained < DRAINED_EVENTS:
                    continue
            elif ready and quiet < QUIET_POLLS - 1:
                quiet += 1
                continue
            drained = quiet = 0
            for runner in tuple(ready or idle_work):
                runner.run()
            now = time.monotonic()
            if now >= ticked + TICK_SECONDS:
                self._tick(now - ticked - TICK_SECONDS)
                ticked = now


class Server:
    """A gRPC server on a loop: ports, and a function that accepts calls."""

    def __init__(self, loop: Loop, accept: Callable[[Rpc], None], options: Sequence[tuple[str, int]]) -> None:
        self._loop = loop
        self._accept = accept
        self._server = cygrpc.Server(tuple(options), False)
        self._server.register_completion_queue(loop.queue)
        self.stopped = False

    def listen(self, address: str, credentials: grpc.ServerCredentials | None = None) -> int:
        """Bind an address; return the port, or 0 if it cannot be bound."""
        # ServerCredentials has no public accessor for them.
        inner = () if credentials is None else (credentials._credentials,)  # type: ignore[attr-defined]  # noqa: SLF001
        try:
            port: int = self._server.add_http2_port(address.encode(), *inner)
        except RuntimeError:
            return 0
        return port

    def start(self) -> None:
        """Start to accept calls."""
        self._server.start()
        for _ in range(OUTSTANDING_REQUESTS):
            self._request()

    def _request(self) -> None:
        self._server.request_call(self._loop.queue, self._loop.queue, self._arrived)

    def _arrived(self, event: Event) -> None:
        if event.success:  # false while shutting down: the event has no valid call
            self._request()
            self._accept(Rpc(event))

    def shut_down(self) -> None:
        """Refuse new connections and calls; `stopped` becomes true when those in flight have ended."""
        self._server.shutdown(self._loop.queue, self._ended)

    def _ended(self, _: Event) -> None:
        self.stopped = True

    def cancel_calls(self) -> None:
        """Cancel every call in flight."""
        self._server.cancel_all_calls()
