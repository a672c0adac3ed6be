"""Addresses of all ports."""

import socket
from pathlib import Path

import pytest

from server.errors import StartError
from server.process.listeners import grpc_listeners, http_sockets, is_loopback, reserved, written
from server.settings import Settings


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "[::]"])  # noqa: S104 - what is tested
def test_every_interface_means_both_families(host: str) -> None:
    (listening,) = http_sockets(host, 0)
    with listening:
        port = listening.getsockname()[1]
        for address in ("127.0.0.1", "::1"):
            socket.create_connection((address, port)).close()
    grpc, _ = grpc_listeners(Settings(host=host, grpc_port=0))
    assert grpc.addresses == ("[::]:0",)


@pytest.mark.parametrize(
    ("host", "address"), [("::1", "[::1]:0"), ("[::1]", "[::1]:0"), ("127.0.0.1", "127.0.0.1:0")]
)
def test_address_is_read_with_and_without_brackets(host: str, address: str) -> None:
    assert grpc_listeners(Settings(host=host, grpc_port=0))[0].addresses == (address,)
    (listening,) = http_sockets(host, 0)
    listening.close()


def test_name_means_all_of_its_addresses_at_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", 0)),
        (socket.AF_INET6, socket.SOCK_STREAM, 6, "", ("::1", 0, 0, 0)),
        (socket.AF_INET, socket.SOCK_STREAM, 6, "", ("192.0.2.1", 0)),  # none of this machine's
    ]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    sockets = http_sockets("localhost", 0)
    assert [each.family for each in sockets] == [socket.AF_INET, socket.AF_INET6]
    assert len({each.getsockname()[1] for each in sockets}) == 1
    for each in sockets:
        each.close()
    (one, other), port = grpc_listeners(Settings(host="localhost", grpc_port=0))[0]
    assert (one, other) == (f"127.0.0.1:{port}", f"[::1]:{port}")


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True), ("127.1.2.3", True), ("::1", True), ("[::1]", True), ("localhost", True),
        ("unix:/run/digits", True), ("0.0.0.0", False), ("::", False), ("192.0.2.1", False),  # noqa: S104
    ],
)  # fmt: skip
def test_loopback_is_what_only_this_machine_reaches(host: str, local: bool) -> None:
    assert is_loopback(host) == local


def test_taken_port_is_named_with_the_systems_reason_and_what_to_try() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        message = "on 127.0.0.1 cannot be bound: Address already in use; is another server using it[?]$"
        for name, bind in (
            ("metrics", lambda: http_sockets("127.0.0.1", port)),
            ("gRPC", lambda: grpc_listeners(Settings(grpc_port=port))),
            ("health", lambda: grpc_listeners(Settings(grpc_port=0, health_port=port))),
        ):
            with pytest.raises(StartError, match=rf"^{name} port {port} {message}"):
                bind()


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("192.0.2.1", "Cannot assign requested address; the address is none of this machine's"),
        ("nowhere.invalid", "gRPC host 'nowhere.invalid' has no address: "),
    ],
)
def test_address_that_is_not_ours_is_named(host: str, words: str) -> None:
    with pytest.raises(StartError, match=words):
        grpc_listeners(Settings(host=host, grpc_port=0))


def test_port_that_needs_a_privilege_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(socket.socket, "bind", refuse)
    with pytest.raises(
        StartError, match=r"port 80 on 127.0.0.1 cannot be bound: Permission denied; ports below 1024"
    ):
        http_sockets("127.0.0.1", 80)


def test_reserved_port_is_for_these_workers_alone() -> None:
    with reserved(Settings(grpc_port=0, health_port=0)) as (grpc, health):
        assert health is not None
        for listener in (grpc, health):
            assert listener.addresses == (f"127.0.0.1:{listener.port}",)
            with socket.create_server(("127.0.0.1", listener.port), reuse_port=True):
                pass  # as a worker does


def test_unix_socket_of_a_running_server_is_taken(tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/digits"
    settings = Settings(host=address)
    assert grpc_listeners(settings)[0].addresses == (address,)
    with socket.socket(socket.AF_UNIX) as taken:
        taken.bind(f"{tmp_path}/digits")
        taken.listen()
        with pytest.raises(StartError, match="another server listens on it"):
            grpc_listeners(settings)


def test_host_and_port_are_written_as_one() -> None:
    hosts = ("127.0.0.1", "::1", "[::1]", "localhost")
    assert [written(host, 1) for host in hosts] == ["127.0.0.1:1", "[::1]:1", "[::1]:1", "localhost:1"]
