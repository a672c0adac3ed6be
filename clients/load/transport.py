"""The transport of a request: a call of its own, or a stream that carries many."""

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

import grpc

from clients.load.workload import Workload
from clients.wire import Question, serialize

# Receives None for a right answer, else a status or what was wrong; and the response, if there is one.
Landed = Callable[[str | None, Any], None]


class Transport(Protocol):
    """Send requests; every one of them ends in a call of `landed`."""

    def send(self, landed: Landed) -> None:
        """Send the workload's request, the same every time."""

    def close(self) -> None:
        """Send no more; requests in flight are given up."""


def open_transport(workload: Workload) -> Transport:
    """Open a connection of its own."""
    return StreamTransport(workload) if workload.stream else CallTransport(workload)


class CallTransport:
    """Make a call of each request."""

    def __init__(self, workload: Workload) -> None:
        connection, wire = workload.connection, workload.connection.wire
        self._check = _checker(workload)
        self._request = request_bytes(workload)
        self._timeout_seconds, self._metadata = connection.timeout_seconds, connection.metadata
        self._channel = connection.open()
        self._call: Any = self._channel.unary_unary(wire.method, _identity, wire.response.FromString)

    def send(self, landed: Landed) -> None:
        """Make a call."""

        def ended(call: Any) -> None:
            code = call.code()
            if code is grpc.StatusCode.OK:
                response = call.result()
                landed(self._check(response), response)
            else:
                landed(code.name, None)

        call = self._call.future(self._request, timeout=self._timeout_seconds, metadata=self._metadata)
        call.add_done_callback(ended)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class StreamTransport:
    """Put all requests on one bidirectional stream; a stream that breaks is opened again."""

    def __init__(self, workload: Workload) -> None:
        connection, wire = workload.connection, workload.connection.wire
        self._check = _checker(workload)
        self._request = request_bytes(workload)
        self._metadata = connection.metadata
        self._channel = connection.open()
        self._open: Any = self._channel.stream_stream(wire.stream_method, _identity, wire.response.FromString)
        self._lock = threading.Lock()
        self._closed = False
        self._renew()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def send(self, landed: Landed) -> None:
        """Put a request on the stream."""
        with self._lock:
            self._waiting.append(landed)
            self._outbox.put(self._request)

    def close(self) -> None:
        """End the stream and the connection."""
        self._closed = True
        self._outbox.put(None)
        self._channel.close()
        self._reader.join()

    def _renew(self) -> None:
        self._outbox: SimpleQueue[bytes | None] = SimpleQueue()
        self._waiting: deque[Landed] = deque()

    def _read(self) -> None:
        while not self._closed:
            code = "ENDED"
            try:
                for response in self._open(iter(self._outbox.get, None), metadata=self._metadata):
                    self._waiting.popleft()(self._check(response), response)
            except grpc.RpcError as error:
                code = error.code().name
            except ValueError:  # the channel was closed before the stream was opened
                return
            with self._lock:
                lost, outbox = self._waiting, self._outbox
                self._renew()
            outbox.put(None)  # lets gRPC's thread that reads it go
            for landed in lost:
                landed(code, None)


def request_bytes(workload: Workload) -> bytes:
    """Serialize the workload's request once, so that sending it costs only gRPC's own work."""
    request = workload.connection.wire.request(Question(model=workload.model), workload.images())
    return serialize(request)


def _checker(workload: Workload) -> Callable[[Any], str | None]:
    count, expected = workload.connection.wire.count, workload.images_per_call
    return lambda response: None if count(response) == expected else "WRONG_ANSWER"


def _identity(message: bytes) -> bytes:
    return message
