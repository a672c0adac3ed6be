"""How a request travels: as a call of its own, or on a stream that carries many."""

import threading
from collections import deque
from collections.abc import Callable
from queue import SimpleQueue
from typing import Any, Protocol

import grpc

from clients.load.plan import Plan
from clients.protocols import WIRES
from clients.wire import Question, serialize

# Told how a request ended: None where it was answered rightly, else a status or what was wrong.
Landed = Callable[[str | None], None]


class Lane(Protocol):
    """Send requests; every one of them lands some day."""

    def send(self, landed: Landed) -> None:
        """Send the plan's request, the same every time."""

    def close(self) -> None:
        """Send no more; what still travels is given up."""


def open_lane(plan: Plan) -> Lane:
    """Open a connection of its own."""
    return StreamLane(plan) if plan.stream else CallLane(plan)


class CallLane:
    """Make a call of each request."""

    def __init__(self, plan: Plan) -> None:
        wire = WIRES[plan.connection.protocol]
        self._check = _checker(plan)
        self._request = request_bytes(plan)
        self._timeout_seconds, self._metadata = plan.connection.timeout_seconds, plan.connection.metadata
        self._channel = plan.connection.open()
        self._call: Any = self._channel.unary_unary(wire.method, _as_it_is, wire.response.FromString)

    def send(self, landed: Landed) -> None:
        """Make a call."""

        def ended(call: Any) -> None:
            code = call.code()
            landed(self._check(call.result()) if code is grpc.StatusCode.OK else code.name)

        call = self._call.future(self._request, timeout=self._timeout_seconds, metadata=self._metadata)
        call.add_done_callback(ended)

    def close(self) -> None:
        """Close the connection."""
        self._channel.close()


class StreamLane:
    """Put all requests on one bidirectional stream; a stream that breaks is opened anew."""

    def __init__(self, plan: Plan) -> None:
        wire = WIRES[plan.connection.protocol]
        self._check = _checker(plan)
        self._request = request_bytes(plan)
        self._metadata = plan.connection.metadata
        self._channel = plan.connection.open()
        self._open: Any = self._channel.stream_stream(wire.stream_method, _as_it_is, wire.response.FromString)
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
                    self._waiting.popleft()(self._check(response))
            except grpc.RpcError as error:
                code = error.code().name
            except ValueError:  # the channel was closed before the stream was opened
                return
            with self._lock:
                lost, outbox = self._waiting, self._outbox
                self._renew()
            outbox.put(None)  # lets gRPC's thread that reads it go
            for landed in lost:
                landed(code)


def request_bytes(plan: Plan) -> bytes:
    """Write the plan's request; the same bytes each time, so that sending costs gRPC's own work and nothing else."""
    question = Question(model=plan.model)
    return serialize(WIRES[plan.connection.protocol].request(question, plan.images()))


def _checker(plan: Plan) -> Callable[[Any], str | None]:
    answers, expected = WIRES[plan.connection.protocol].answers, plan.images_per_call
    return lambda response: None if answers(response) == expected else "WRONG_ANSWER"


def _as_it_is(message: bytes) -> bytes:
    return message
