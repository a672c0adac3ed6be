"""Security and transport settings, seen from the server."""

import socket
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme

from clients import Client, Connection, InputError, ServerError, Tls
from clients.testing import FakeServer
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Digits, Run


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def ca_file(authority: trustme.CA, tmp_path: Path) -> Path:
    path = tmp_path / "ca.pem"
    authority.cert_pem.write_to_path(path)
    return path


def credentials(
    authority: trustme.CA, name: str = "digits.test", *, know_callers: bool = False
) -> grpc.ServerCredentials:
    certificate = authority.issue_cert(name)
    chain = b"".join(blob.bytes() for blob in certificate.cert_chain_pems)
    key = certificate.private_key_pem.bytes()
    return grpc.ssl_server_credentials([(key, chain)], authority.cert_pem.bytes(), know_callers)


def test_tls_server_is_trusted_by_its_authority(
    authority: trustme.CA, ca_file: Path, digit_images: Digits
) -> None:
    tls = Tls(ca=ca_file, server_name="digits.test")
    with (
        FakeServer(credentials=credentials(authority)) as fake,
        Client(Connection(address=fake.address, tls=tls)) as client,
    ):
        assert client.predict(digit_images(2))[1].digit == 1


def test_server_of_another_name_is_not_trusted(
    authority: trustme.CA, ca_file: Path, digit_images: Digits
) -> None:
    with (
        FakeServer(credentials=credentials(authority)) as fake,
        Client(Connection(address=fake.address, tls=Tls(ca=ca_file), attempts=1)) as client,
        pytest.raises(ServerError, match="no server answers"),
    ):
        client.predict(digit_images(1))


def test_server_that_wants_to_know_its_callers_does(
    authority: trustme.CA, ca_file: Path, tmp_path: Path, digit_images: Digits
) -> None:
    mine = authority.issue_cert("me@digits.test")
    mine.cert_chain_pems[0].write_to_path(tmp_path / "me.pem")
    mine.private_key_pem.write_to_path(tmp_path / "me.key")
    known = Tls(
        ca=ca_file, certificate=tmp_path / "me.pem", key=tmp_path / "me.key", server_name="digits.test"
    )
    stranger = Tls(ca=ca_file, server_name="digits.test")
    with FakeServer(credentials=credentials(authority, know_callers=True)) as fake:
        with Client(Connection(address=fake.address, tls=known)) as client:
            assert client.predict(digit_images(1))[0].digit == 0
        with (
            Client(Connection(address=fake.address, tls=stranger, attempts=1)) as client,
            pytest.raises(ServerError),
        ):
            client.predict(digit_images(1))


def test_tls_and_token_options_reach_the_server(
    authority: trustme.CA, ca_file: Path, digit_images: Digits, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    images = ca_file.with_name("images.npy")
    np.save(images, digit_images(3))
    monkeypatch.setenv("DIGITS_TOKEN", "s3cret")
    with FakeServer(credentials=credentials(authority, "127.0.0.1")) as fake:
        ended = run("predict", images, "--tls-ca-file", ca_file, "-o", "json", server=fake.address)
        assert fake.metadata[0]["authorization"] == "Bearer s3cret"
    assert [answer["digit"] for answer in ended.records] == [0, 1, 2]


def test_tls_against_plaintext_and_plaintext_against_tls_are_named(ca_file: Path, run: Run) -> None:
    ended = run("models", "--tls")
    assert ended.code == 1
    assert "(it does not speak TLS); try without TLS" in ended.err
    with FakeServer(credentials=credentials(trustme.CA(), "127.0.0.1")) as secure:
        ended = run("models", server=secure.address)
        assert ended.code == 1
        assert "does it expect TLS? try --tls" in ended.err
        ended = run("models", "--tls-ca-file", ca_file, server=secure.address)
        assert ended.code == 1
        assert "its TLS certificate is not trusted" in ended.err


def test_proxy_in_the_environment_is_named(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.delenv("no_proxy", raising=False)
    ended = run("models")
    assert ended.code == 1
    assert (
        "http_proxy=http://127.0.0.1:1 in the environment sends the connection through a proxy" in ended.err
    )
    assert "no_grpc_proxy=127.0.0.1 connects directly" in ended.err
    monkeypatch.setenv("no_grpc_proxy", "127.0.0.1")
    assert run("models").code == 0


def test_server_of_another_kind_is_told_apart(run: Run) -> None:
    server = grpc.server(ThreadPoolExecutor(1))
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        ended = run("models", server=f"127.0.0.1:{port}")
    finally:
        server.stop(None).wait()
    assert ended.code == 1
    assert "does not offer this call" in ended.err


def test_certificate_without_its_key_is_refused(ca_file: Path) -> None:
    with pytest.raises(InputError, match="come together"):
        Client(Connection(tls=Tls(certificate=ca_file)))


def test_missing_pem_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.pem: No such file"):
        Client(Connection(tls=Tls(ca=tmp_path / "gone.pem")))


def test_compressed_images_arrive_whole(fake: FakeServer, digit_images: Digits) -> None:
    with Client(Connection(address=fake.address, compression="gzip")) as client:
        assert [p.digit for p in client.predict(digit_images(300))] == [n % 10 for n in range(300)]


@pytest.mark.parametrize(
    ("address", "cause"),
    [("127.0.0.1:1", r"\(connection refused\)"), ("nowhere.invalid:8500", r"\(.*not.*\)")],
)
def test_unreachable_server_is_named_with_the_cause(address: str, cause: str, digit_images: Digits) -> None:
    with (
        Client(Connection(address=address, attempts=1)) as client,
        pytest.raises(ServerError, match=f"no server answers at {address} {cause}"),
    ):
        client.predict(digit_images(1))


def test_slow_server_runs_into_the_deadline(fake: FakeServer, digit_images: Digits) -> None:
    release = threading.Event()

    def never(_: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        release.wait()
        return prediction_pb2.PredictResponse()

    fake.answer = never
    with (
        Client(Connection(address=fake.address, timeout_seconds=0.1)) as client,
        pytest.raises(ServerError, match=r"did not answer within 0\.1 s") as caught,
    ):
        client.predict(digit_images(1))
    release.set()
    assert caught.value.code is grpc.StatusCode.DEADLINE_EXCEEDED


def test_listener_that_never_speaks_runs_into_the_connect_deadline(digit_images: Digits) -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        address = f"127.0.0.1:{mute.getsockname()[1]}"
        connection = Connection(address=address, timeout_seconds=60, connect_timeout_seconds=0.2, attempts=1)
        with (
            Client(connection) as client,
            pytest.raises(ServerError, match=f"no server answers at {address}"),
        ):
            client.predict(digit_images(1))


@pytest.mark.parametrize("address", ["", "nonsense", "http://localhost:8500", ":::", "localhost:", "a b:1"])
def test_address_must_be_host_and_port(address: str) -> None:
    with pytest.raises(InputError, match="expected HOST:PORT"):
        Client(address)


@pytest.mark.parametrize(
    "address", ["a.b-c:1", "[::1]:8500", "127.0.0.1:1", "dns:///a:1", "unix:/run/d.sock"]
)
def test_addresses_that_grpc_knows_are_accepted(address: str) -> None:
    Client(address).close()
