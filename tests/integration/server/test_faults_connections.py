"""Slow, silent and vanished peers of a real server."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, suppress
from pathlib import Path

import psutil
import pytest
from h2.events import ConnectionTerminated, PingAckReceived

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.impatient_server import ImpatientServer
from tests.load import DIGIT, IMAGE, load, retrying_callers
from tests.process import WAIT_SECONDS, RunningServer, running, until
from tests.wire import Peer, framed

SMALL = framed(PredictRequest(images=IMAGE.tobytes(), include_probabilities=True).SerializeToString())


@pytest.fixture
def server(tmp_path: Path, publish: Publish) -> Iterator[RunningServer]:
    publish(tmp_path)
    with running("--model-repository", tmp_path, kind=ImpatientServer) as server:
        assert answers(server)
        yield server


def answers(server: RunningServer) -> bool:
    return list(server.predict(IMAGE.tobytes()).digits) == [DIGIT]


def test_connections_that_send_nothing_are_closed(server: RunningServer) -> None:
    process = psutil.Process(server.process.pid)
    files = process.num_fds()
    with ExitStack() as stack:
        silent = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.grpc_port), WAIT_SECONDS))
            for _ in range(100)
        ]
        assert answers(server)
        for connection in silent:
            while connection.recv(1000):
                pass
        assert answers(server)
        until(lambda: process.num_fds() <= files)


def test_half_open_connections_are_noticed_and_closed(server: RunningServer) -> None:
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.grpc_port)) for _ in range(20)]
        for peer in peers:
            peer.begin()
        assert answers(server)
        assert all(peer.closed() for peer in peers)  # none answered a ping
        assert answers(server)


def test_slow_writers_hold_up_nobody(server: RunningServer) -> None:
    with ExitStack() as stack:
        for _ in range(100):
            peer = stack.enter_context(Peer(server.grpc_port))
            peer.http.send_data(peer.begin(), SMALL[:100])
            peer.flush()
        assert answers(server)


def test_slow_readers_hold_up_nobody(server: RunningServer) -> None:
    process = psutil.Process(server.process.pid)
    files = process.num_fds()
    before = process.memory_info().rss
    with ExitStack() as stack:
        peers = [stack.enter_context(Peer(server.grpc_port, window=0)) for _ in range(20)]
        for peer in peers:
            for _ in range(20):
                peer.http.send_data(peer.begin(), SMALL, end_stream=True)
            peer.flush()
        assert answers(server)
        assert all(peer.closed() for peer in peers)
        assert answers(server)
    until(lambda: process.num_fds() <= files)
    assert process.memory_info().rss < before + 50e6


def test_client_that_pings_a_few_times_a_second_keeps_its_connection(server: RunningServer) -> None:
    # gRPC's own limit is a ping every five minutes; the third that comes sooner ends the connection.
    with Peer(server.grpc_port) as peer:
        peer.socket.settimeout(0.2)  # the pause between two pings
        acknowledged = 0
        for number in range(10):
            peer.http.ping(number.to_bytes(8, "big"))
            peer.flush()
            with suppress(TimeoutError):
                while content := peer.socket.recv(65536):
                    events = peer.http.receive_data(content)
                    peer.flush()
                    assert not [event for event in events if isinstance(event, ConnectionTerminated)]
                    acknowledged += sum(isinstance(event, PingAckReceived) for event in events)
        assert acknowledged == 10


def test_connections_are_renewed_at_no_cost_for_a_retrying_client(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    with (
        running("--model-repository", tmp_path, "--connection-age-seconds", 0.2) as server,
        retrying_callers(server.address, connections=8, callers=1) as asks,
        load(*asks) as under_load,
    ):
        under_load.wait_for(2000)
        under_load.end()
    assert under_load.failures == {}
