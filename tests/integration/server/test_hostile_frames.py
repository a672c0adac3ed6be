"""Invalid HTTP/2, and valid HTTP/2 that is invalid gRPC."""

import random
from collections.abc import Callable, Iterator
from contextlib import suppress

import psutil
import pytest
from h2.events import ResponseReceived, TrailersReceived

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.fuzz.inputs import TELLTALE, transcript
from tests.impatient_server import ImpatientServer
from tests.load import DIGIT, IMAGE
from tests.process import RunningServer, running, until
from tests.wire import PREDICT, Peer, framed

MESSAGE = PredictRequest(images=IMAGE.tobytes()).SerializeToString()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository)
    with running("--model-repository", repository, kind=ImpatientServer) as server:
        answers(server)
        yield server
        assert not [line for line in server.lines if "Traceback" in line or TELLTALE in line]


def answers(server: RunningServer) -> bool:
    return list(server.predict(IMAGE.tobytes()).digits) == [DIGIT]


def status(peer: Peer, stream: int) -> str:
    """Read until the end of a call and return its gRPC status."""
    while True:
        events = peer.http.receive_data(peer.socket.recv(65536))
        peer.flush()
        for event in events:
            if isinstance(event, ResponseReceived | TrailersReceived) and event.stream_id == stream:
                headers = dict(event.headers)
                if b"grpc-status" in headers:
                    return headers[b"grpc-status"].decode()


def call(server: RunningServer, content: bytes, *headers: tuple[str, str | bytes]) -> str:
    with Peer(server.grpc_port) as peer:
        stream = peer.begin(PREDICT, *headers)
        peer.http.send_data(stream, content, end_stream=True)
        peer.flush()
        return status(peer, stream)


@pytest.mark.parametrize(
    ("content", "headers", "expected"),
    [
        (framed(MESSAGE), (), {"0"}),
        # gRPC's own INTERNAL, which the protocol demands: compressed without an encoding, or with another.
        # grpcio 1.81 reads the first as uncompressed.
        (framed(MESSAGE, flag=1), (), {"13", "0"}),
        (framed(MESSAGE, flag=1), (("grpc-encoding", "gzip"),), {"13"}),
        (framed(MESSAGE), (("grpc-encoding", "nonsense"),), {"13"}),
        (framed(MESSAGE, flag=9), (), {"3"}),  # INVALID_ARGUMENT
        # Four gigabytes to come: RESOURCE_EXHAUSTED, or for grpcio 1.81 a message that ends early.
        (b"\0\xff\xff\xff\xff" + MESSAGE, (), {"8", "3"}),
        (framed(MESSAGE)[:50], (), {"3"}),
        (b"", (), {"3"}),
    ],
)
def test_frame_that_is_wrong_costs_its_caller_only(
    server: RunningServer, content: bytes, headers: tuple[tuple[str, str], ...], expected: set[str]
) -> None:
    assert call(server, content, *headers) in expected
    assert answers(server)


def test_header_that_is_no_text_is_not_logged(server: RunningServer) -> None:
    assert call(server, framed(MESSAGE), ("x-header", b"\x83" + TELLTALE.encode())) == "0"
    assert not [line for line in server.lines if TELLTALE in line]


def garbage(peer: Peer) -> None:
    peer.socket.sendall(random.Random(1).randbytes(100_000))


def header_flood(peer: Peer) -> None:
    for _ in range(200):
        peer.begin(PREDICT, *((f"x-{number}", "y" * 100) for number in range(100)))


def tiny_streams(peer: Peer) -> None:
    for _ in range(5000):
        peer.http.send_data(peer.begin(), b"", end_stream=True)
        peer.http.receive_data(b"")
    peer.flush()


def reset_flood(peer: Peer) -> None:
    for _ in range(5000):
        peer.http.reset_stream(peer.begin())
    peer.flush()


def large_frame(peer: Peer) -> None:
    peer.begin()
    peer.socket.sendall(b"\xff\xff\xff\x00\x00\x00\x00\x00\x01" + bytes(100_000))


def endless_headers(peer: Peer) -> None:
    peer.socket.sendall(b"\x00\x40\x00\x01\x00\x00\x00\x00\x01" + b"\x00\x01a\x01b" * 3276 + b"\x00\x01a\x01")
    for _ in range(100):
        peer.socket.sendall(
            b"\x00\x40\x00\x09\x00\x00\x00\x00\x01" + b"b" + b"\x00\x01a\x01b" * 3276 + b"\x00\x01a"
        )


def ping_flood(peer: Peer) -> None:
    for _ in range(10_000):
        peer.http.ping(bytes(8))
    peer.flush()


def settings_flood(peer: Peer) -> None:
    peer.socket.sendall(b"\x00\x00\x00\x04\x00\x00\x00\x00\x00" * 10_000)


@pytest.mark.parametrize(
    "attack",
    [
        *(garbage, header_flood, tiny_streams, reset_flood),
        *(large_frame, endless_headers, ping_flood, settings_flood),
    ],
)
def test_flood_on_a_connection_disturbs_no_other(
    server: RunningServer, attack: Callable[[Peer], None]
) -> None:
    process = psutil.Process(server.process.pid)
    files, before = process.num_fds(), process.memory_info().rss
    # The server may have had enough.
    with Peer(server.grpc_port) as peer, suppress(ConnectionError, TimeoutError):
        peer.socket.settimeout(5)
        attack(peer)
        assert answers(server)
    assert answers(server)
    until(lambda: process.num_fds() <= files)
    assert process.memory_info().rss < before + 50e6


def test_calls_that_are_nearly_right_disturb_nobody(server: RunningServer) -> None:
    choose = random.Random(1)
    process = psutil.Process(server.process.pid)
    files = process.num_fds()
    for _ in range(200):
        with Peer(server.grpc_port) as peer, suppress(ConnectionError):
            peer.socket.sendall(transcript(choose))
    assert answers(server)
    until(lambda: process.num_fds() <= files)
