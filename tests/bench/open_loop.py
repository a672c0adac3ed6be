"""An open-loop load generator for 30,000 calls a second: `python -m tests.bench.open_loop PORT RATE`.

Sends frames that are serialized once: a gRPC client in Python needs as much CPU as the server. Otherwise it
behaves like one: calls wait for a free stream and for the connection's window, and are cancelled at their
deadline. Calls are due as a Poisson process; latency counts from when a call was due. Prints one JSON object.
"""

import gc
import json
import select
import socket
import sys
import time
from collections import deque
from contextlib import suppress
from dataclasses import asdict, dataclass, field

import numpy as np
from cyclopts import App
from hpack import Encoder, NeverIndexedHeaderTuple
from hyperframe.frame import (
    DataFrame,
    Frame,
    GoAwayFrame,
    HeadersFrame,
    PingFrame,
    RstStreamFrame,
    SettingsFrame,
    WindowUpdateFrame,
)

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.wire import PREDICT, framed

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
HEADER_BYTES = 9
MAX_FRAME_BYTES = 16_384
INITIAL_WINDOW_BYTES = 65_535
DATA, HEADERS, RST_STREAM = 0, 1, 3
END_STREAM = 1
CANCEL = 8
NO_TIMEOUT = b"00000000u"  # replaced by what is left of a call's timeout, in microseconds
TICK_SECONDS = 0.005


@dataclass(frozen=True, slots=True)
class Load:
    """The result of one run of a load generator; latencies are in milliseconds."""

    calls_per_second: float  # answered before their deadline
    p50_ms: float
    p90_ms: float
    p99_ms: float
    p999_ms: float
    refused: int = 0  # every other call
    late_ms: float = 0.0  # p99 of how late the generator sent: it was the limit if this is high
    answer_bytes: int = 0


class Call:
    """The frames of a call, for any stream and deadline."""

    def __init__(self, message: bytes, timeout_seconds: float) -> None:
        if len(message) + 5 > INITIAL_WINDOW_BYTES:
            raise ValueError(
                f"the message has {len(message)} bytes, expected at most {INITIAL_WINDOW_BYTES - 5}"
            )
        headers = [
            *((":method", "POST"), (":scheme", "http"), (":path", PREDICT), (":authority", "localhost")),
            *(
                ("te", "trailers"),
                ("content-type", "application/grpc"),
                ("grpc-timeout", NO_TIMEOUT.decode()),
            ),
        ]
        body = framed(message)
        block = Encoder().encode([NeverIndexedHeaderTuple(*header) for header in headers], huffman=False)
        frames: list[Frame] = [HeadersFrame(1, block, flags=["END_HEADERS"])]
        frames += [
            DataFrame(1, body[at : at + MAX_FRAME_BYTES]) for at in range(0, len(body), MAX_FRAME_BYTES)
        ]
        frames[-1].flags.add("END_STREAM")
        serialized = [frame.serialize() for frame in frames]
        # Around the four bytes of the stream, which are the last of a frame's header.
        cut = b"".join(frame[:5] + b"\0\0\0\0" + frame[HEADER_BYTES:] for frame in serialized)
        ends = np.cumsum([0, *(len(frame) for frame in serialized)])[:-1] + 5
        starts = [0, *(ends + 4)]
        self.parts = [cut[start:end] for start, end in zip(starts, [*ends, len(cut)], strict=True)]
        self.window_bytes = len(body)
        self.timeout_seconds = timeout_seconds

    def frames(self, stream: int, left_seconds: float) -> bytes:
        """Return the call's frames on `stream`, with what is left of its timeout."""
        frames = stream.to_bytes(4, "big").join(self.parts)
        return frames.replace(NO_TIMEOUT, b"%08du" % (left_seconds * 1e6), 1)


@dataclass(slots=True, eq=False)
class Connection:
    """One connection, its calls and the bytes still to send."""

    socket: socket.socket
    call: Call
    window_bytes: int = INITIAL_WINDOW_BYTES
    max_streams: int = 2**31
    next_stream: int = 1
    # When calls were due: those without an answer by stream, and those that are not sent yet.
    sent: dict[int, float] = field(default_factory=dict)
    waiting: deque[float] = field(default_factory=deque)
    answered: set[int] = field(default_factory=set)
    latencies: list[float] = field(default_factory=list)  # in seconds, of the calls answered with OK
    failed: int = 0
    sending: bytearray = field(default_factory=bytearray)
    received: bytes = b""

    @classmethod
    def open(cls, port: int, call: Call) -> "Connection":
        """Connect and exchange settings; the server may send without limit."""
        connection = cls(socket.create_connection(("127.0.0.1", port)), call)
        connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        update = WindowUpdateFrame(0, window_increment=2**30)
        connection.socket.sendall(PREFACE + SettingsFrame(0).serialize() + update.serialize())
        connection.socket.setblocking(False)
        return connection

    def fileno(self) -> int:
        """Return the socket's descriptor, for `select`."""
        return self.socket.fileno()

    def send(self, now: float) -> None:
        """Cancel the calls whose deadline has passed, and send those that wait, as far as the server lets."""
        expired = now - self.call.timeout_seconds
        while self.waiting and self.waiting[0] <= expired:
            self.waiting.popleft()
            self.failed += 1
        while self.sent and self.sent[first := next(iter(self.sent))] <= expired:
            del self.sent[first]
            self.sending += RstStreamFrame(first, CANCEL).serialize()
            self.failed += 1
        need = self.call.window_bytes
        while self.waiting and self.window_bytes >= need and len(self.sent) < self.max_streams:
            self.window_bytes -= need
            due = self.sent[self.next_stream] = self.waiting.popleft()
            self.sending += self.call.frames(self.next_stream, due - expired)
            self.next_stream += 2
        if self.sending:
            with suppress(BlockingIOError):
                del self.sending[: self.socket.send(self.sending)]

    def receive(self, now: float) -> None:
        """Read what has come."""
        content = self.socket.recv(1 << 18)
        if not content:
            raise ConnectionError("the server closed the connection")
        content = self.received + content
        at, size = 0, len(content)
        while at + HEADER_BYTES <= size:
            end = at + HEADER_BYTES + int.from_bytes(content[at : at + 3], "big")
            if end > size:
                break
            kind, flags = content[at + 3], content[at + 4]
            stream = int.from_bytes(content[at + 5 : at + 9], "big")
            if kind == DATA:
                self.answered.add(stream)
            elif kind == RST_STREAM or (kind == HEADERS and flags & END_STREAM):
                self._ended(stream, now)
            elif kind != HEADERS:
                self._control(content[at:end])
            at = end
        self.received = content[at:]

    def _ended(self, stream: int, now: float) -> None:
        due, ok = self.sent.pop(stream, None), stream in self.answered  # a gRPC error is trailers alone
        self.answered.discard(stream)
        if due is None:  # it was cancelled
            return
        if ok:
            self.latencies.append(now - due)
        else:
            self.failed += 1

    def _control(self, content: bytes) -> None:
        frame, _ = Frame.parse_frame_header(memoryview(content[:HEADER_BYTES]))
        frame.parse_body(memoryview(content[HEADER_BYTES:]))
        if isinstance(frame, WindowUpdateFrame) and not frame.stream_id:
            self.window_bytes += frame.window_increment
        elif isinstance(frame, PingFrame) and "ACK" not in frame.flags:
            self.sending += PingFrame(0, frame.opaque_data, flags=["ACK"]).serialize()
        elif isinstance(frame, SettingsFrame) and "ACK" not in frame.flags:
            self.max_streams = frame.settings.get(SettingsFrame.MAX_CONCURRENT_STREAMS, self.max_streams)
            self.sending += SettingsFrame(0, flags=["ACK"]).serialize()
        elif isinstance(frame, GoAwayFrame):
            raise ConnectionError(f"the server closes the connection: {frame.additional_data!r}")


def offer(connections: list[Connection], due: np.ndarray) -> np.ndarray:
    """Send a call at each time of `due`, in seconds from now; return how late each was sent, in seconds."""
    started = time.monotonic()
    times, late, sent = (due + started).tolist(), np.zeros(len(due)), 0
    while sent < len(times) or any(each.sent or each.waiting for each in connections):
        now = time.monotonic()
        while sent < len(times) and times[sent] <= now:
            connections[sent % len(connections)].waiting.append(times[sent])
            late[sent] = now - times[sent]
            sent += 1
        for each in connections:
            each.send(now)
        writing = [each for each in connections if each.sending]
        wait = times[sent] - time.monotonic() if sent < len(times) else TICK_SECONDS
        readable, _, _ = select.select(connections, writing, [], min(max(wait, 0.0), TICK_SECONDS))
        for each in readable:
            each.receive(time.monotonic())
    return late


app = App(help=__doc__)


@app.default
def main(  # noqa: PLR0913 - the server, what to send, how often, how long to wait for an answer
    port: int,
    rate: float,
    *,
    seconds: float = 5,
    images_per_call: int = 1,
    connections: int = 8,
    timeout_ms: int = 10_000,
) -> int:
    """Send `rate` calls per second for `seconds`, over connections in turn."""
    random = np.random.default_rng()
    images = random.integers(0, 256, images_per_call * 784, np.uint8).tobytes()
    call = Call(PredictRequest(images=images).SerializeToString(), timeout_ms / 1e3)
    opened = [Connection.open(port, call) for _ in range(connections)]
    gc.disable()  # a collection takes 20 ms, and delays as many calls as are due in that time
    started = time.monotonic()
    late = offer(opened, np.cumsum(random.exponential(1 / rate, round(rate * seconds))))
    elapsed = max(time.monotonic() - started, seconds)
    latencies = 1e3 * np.array([latency for each in opened for latency in each.latencies] or [np.nan])
    percentiles = np.percentile(latencies, [50, 90, 99, 99.9]).tolist()
    failed, late_ms = sum(each.failed for each in opened), 1e3 * float(np.percentile(late, 99))
    print(json.dumps(asdict(Load((len(late) - failed) / elapsed, *percentiles, failed, late_ms))))
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
