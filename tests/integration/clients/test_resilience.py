"""Restarts of a set of servers, and a server that vanishes, seen by clients."""

import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from clients import Client, Connection, connection
from tests.conftest import Publish
from tests.load import DIGIT, IMAGE, load
from tests.process import RunningServer

pytestmark = pytest.mark.slow


def test_rolling_restart_under_load_fails_no_prediction(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)

    def start(port: int = 0) -> RunningServer:
        return RunningServer("--model-repository", tmp_path, "--grpc-port", port)

    servers = [start(), start()]
    address = "ipv4:" + ",".join(server.address for server in servers)
    with ExitStack() as stack:
        clients = [stack.enter_context(Client(Connection(address=address))) for _ in range(3)]
        asks = [
            (lambda client=client: client.predict(IMAGE)[0].digit)  # type: ignore[misc]
            for client in clients
            for _ in range(4)
        ]
        with load(*asks) as under_load:
            for number, server in enumerate(servers):
                under_load.wait_for(300)
                server.process.terminate()
                assert server.wait() == 0
                under_load.wait_for(300)  # of the one that is left
                servers[number] = start(server.grpc_port)
                servers[number].reaches("digits_requests_total", 50, code="OK")  # found again
            under_load.wait_for(300)
    for server in servers:
        server.process.terminate()
        server.wait()
    assert under_load.failures == {}


class Cable:
    """Forwards bytes between a client and a server until it is cut, without closing the connections."""

    def __init__(self, port: int) -> None:
        self._server = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._cut = threading.Event()
        self._sockets: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Stop forwarding on present connections; new ones are forwarded."""
        self._cut.set()
        self._cut = threading.Event()

    def close(self) -> None:
        """Close everything."""
        for each in (self._listener, *self._sockets):
            each.close()

    def _accept(self) -> None:
        while True:
            try:
                ours, _ = self._listener.accept()
            except OSError:
                return
            theirs = socket.create_connection(("127.0.0.1", self._server))
            self._sockets += [ours, theirs]
            for source, sink in ((ours, theirs), (theirs, ours)):
                threading.Thread(target=self._carry, args=(source, sink, self._cut), daemon=True).start()

    @staticmethod
    def _carry(source: socket.socket, sink: socket.socket, cut: threading.Event) -> None:
        try:
            while content := source.recv(65536):
                if not cut.is_set():
                    sink.sendall(content)
        except OSError:
            return


@contextmanager
def cable(port: int) -> Iterator[Cable]:
    """Run a cable during a block."""
    laid = Cable(port)
    try:
        yield laid
    finally:
        laid.close()


def test_connection_that_vanished_is_noticed_and_made_again(
    tmp_path: Path, publish: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path)
    monkeypatch.setattr(connection, "KEEPALIVE_SECONDS", 1)
    server = RunningServer("--model-repository", tmp_path)
    with (
        cable(server.grpc_port) as laid,
        Client(Connection(address=f"127.0.0.1:{laid.port}", connect_timeout_seconds=1)) as client,
    ):
        assert client.predict(IMAGE)[0].digit == DIGIT
        laid.cut()
        assert client.predict(IMAGE)[0].digit == DIGIT  # within the call's deadline, tried again
    server.process.terminate()
    server.wait()
