"""TLS and mutual TLS."""

import socket
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients import Client, Connection, ServerError, Tls
from clients.cli import main as digit_client
from tests.certificates import Mount
from tests.process import WAIT_SECONDS, RunningServer, failed_start, failure, running

SERVING = health_pb2.HealthCheckResponse.SERVING
IMAGE = np.zeros((28, 28), np.uint8)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def mount(tmp_path: Path, authority: trustme.CA) -> Mount:
    return Mount(tmp_path / "tls", authority)


@pytest.fixture
def ca_file(tmp_path: Path, authority: trustme.CA) -> Path:
    file = tmp_path / "ca.crt"
    authority.cert_pem.write_to_path(str(file))
    return file


@pytest.fixture
def server(repository: Path, mount: Mount) -> Iterator[RunningServer]:
    with running("--model-repository", repository, *mount.arguments) as server:
        yield server


def connection(server: RunningServer, tls: Tls | None, **more: object) -> Connection:
    return Connection(address=f"localhost:{server.grpc_port}", tls=tls, attempts=1, **more)  # type: ignore[arg-type]


def served_certificate(server: RunningServer) -> str:
    return ssl.get_server_certificate(("127.0.0.1", server.grpc_port), timeout=WAIT_SECONDS)


def handshake(server: RunningServer, version: ssl.TLSVersion) -> str | None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(["h2"])
    context.set_ciphers("ALL:@SECLEVEL=0")  # else the client itself would refuse old versions
    context.minimum_version = context.maximum_version = version
    with (
        socket.create_connection(("127.0.0.1", server.grpc_port), WAIT_SECONDS) as plain,
        context.wrap_socket(plain) as wrapped,
    ):
        return wrapped.version()


def test_clients_that_trust_the_authority_get_answers(
    server: RunningServer, ca_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with Client(connection(server, Tls(ca=ca_file))) as client:
        assert len(client.predict([IMAGE])) == 1
    address = f"localhost:{server.grpc_port}"
    assert digit_client(["health", "--server", address, "--tls-ca-file", str(ca_file)]) == 0
    capsys.readouterr()
    assert digit_client(["health", "--server", address]) == 1


def test_callers_without_tls_or_trust_get_nothing(server: RunningServer, tmp_path: Path) -> None:
    stranger = tmp_path / "stranger.crt"
    trustme.CA().cert_pem.write_to_path(str(stranger))
    for tls in (None, Tls(ca=stranger)):
        with Client(connection(server, tls)) as client, pytest.raises(ServerError) as caught:
            client.predict([IMAGE])
        assert caught.value.code == grpc.StatusCode.UNAVAILABLE


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_tls_of_today_is_spoken(server: RunningServer, version: ssl.TLSVersion) -> None:
    assert handshake(server, version) == version.name.replace("_", ".")


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_tls_before_1_2_is_refused(server: RunningServer, version: ssl.TLSVersion) -> None:
    with pytest.raises(ssl.SSLError):
        handshake(server, version)


@pytest.mark.parametrize("workers", [1, 2])
def test_mutual_tls_lets_in_only_callers_of_the_authority(
    repository: Path, tmp_path: Path, authority: trustme.CA, ca_file: Path, workers: int
) -> None:
    mount = Mount(tmp_path / "server", authority)
    caller, stranger = Mount(tmp_path / "caller", authority), Mount(tmp_path / "stranger", trustme.CA())
    with running(
        *("--model-repository", repository, *mount.arguments, "--tls-client-ca-file", ca_file),
        *("--health-port", 0, "--workers", workers),
    ) as server:
        with Client(connection(server, Tls(ca=ca_file, certificate=caller.cert, key=caller.key))) as client:
            assert len(client.predict([IMAGE])) == 1
        for tls in (Tls(ca=ca_file), Tls(ca=ca_file, certificate=stranger.cert, key=stranger.key)):
            with Client(connection(server, tls)) as client, pytest.raises(ServerError) as caught:
                client.predict([IMAGE])
            assert caught.value.code == grpc.StatusCode.UNAVAILABLE

        # A probe without any of it.
        with grpc.insecure_channel(f"127.0.0.1:{server.health_port}") as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            assert stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS).status == SERVING
            predict = channel.unary_unary("/digits.v1.PredictionService/Predict")
            assert failure(lambda: predict(b"", timeout=WAIT_SECONDS))[0] == "UNIMPLEMENTED"


def test_certificates_renewed_under_load_cost_no_call(
    server: RunningServer, mount: Mount, authority: trustme.CA, ca_file: Path
) -> None:
    stop = threading.Event()
    done: list[int] = []
    failed: list[Exception] = []

    def call() -> None:
        with Client(connection(server, Tls(ca=ca_file))) as lasting:
            while not stop.is_set():
                try:
                    with Client(connection(server, Tls(ca=ca_file))) as fresh:
                        done.append(len(fresh.predict([IMAGE])))
                    done.append(len(lasting.predict([IMAGE])))
                except Exception as error:  # noqa: BLE001 - none is expected
                    failed.append(error)

    threads = [threading.Thread(target=call) for _ in range(4)]
    for thread in threads:
        thread.start()
    for _ in range(10):
        before = len(done)
        leaf = mount.issue(authority)
        assert served_certificate(server) == leaf.cert_chain_pems[0].bytes().decode()
        while len(done) < before + 8 and not failed:
            stop.wait(0.01)
    stop.set()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert failed == []
    assert server.event("TLS certificate renewed")["file"] == str(mount.cert)


def test_a_renewal_that_cannot_be_used_is_logged_and_the_old_pair_stays(
    server: RunningServer, mount: Mount, authority: trustme.CA
) -> None:
    before = served_certificate(server)
    mount.put(before.encode(), authority.issue_cert("localhost").private_key_pem.bytes())
    assert served_certificate(server) == before
    problem = server.event("TLS certificate kept")["problem"]
    assert problem == f"TLS key {mount.key} is not that of certificate {mount.cert}"
    assert served_certificate(server) == before
    good = mount.issue(authority)
    assert served_certificate(server) == good.cert_chain_pems[0].bytes().decode()
    assert len([line for line in server.lines if "TLS certificate kept" in line]) == 1


def test_files_that_cannot_be_used_end_the_start_with_the_reason(
    repository: Path, mount: Mount, authority: trustme.CA
) -> None:
    def start(*arguments: object) -> str:
        code, message = failed_start("--model-repository", repository, *arguments)
        assert code == 1
        return message

    cert, key = mount.cert, mount.key
    only = "is given, TLS needs tls_cert_file and tls_key_file together"
    assert start("--tls-cert-file", cert) == f"only tls_cert_file {only}"
    assert start("--tls-key-file", key) == f"only tls_key_file {only}"
    assert start("--tls-client-ca-file", cert) == f"only tls_client_ca_file {only}"
    gone = mount.folder / "gone"
    assert start("--tls-cert-file", gone, "--tls-key-file", key) == (
        f"TLS file {gone} cannot be read: No such file or directory"
    )
    assert start("--tls-cert-file", key, "--tls-key-file", key) == f"TLS file {key} is not a PEM certificate"
    assert start(*mount.arguments, "--tls-client-ca-file", key) == f"TLS file {key} is not a PEM certificate"
    assert start("--tls-cert-file", cert, "--tls-key-file", cert) == (
        f"TLS key {cert} is not a PEM key without a passphrase"
    )
    mount.put(cert.read_bytes(), authority.issue_cert("localhost").private_key_pem.bytes())
    for workers in (1, 2):
        assert start(*mount.arguments, "--workers", workers) == (
            f"TLS key {key} is not that of certificate {cert}"
        )


@pytest.mark.parametrize("workers", [1, 2])
def test_taken_health_port_is_named(repository: Path, workers: int) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        options = ("--model-repository", repository, "--health-port", port, "--workers", workers)
        message = f"health port {port} on 127.0.0.1 cannot be bound: Address already in use"
        assert failed_start(*options) == (1, f"{message}; is another server using it?")


@pytest.mark.parametrize(("host", "warned"), [("0.0.0.0", True), ("127.0.0.1", False)])  # noqa: S104 - the point
def test_plaintext_on_a_public_address_is_said_once(repository: Path, host: str, warned: bool) -> None:
    with running("--model-repository", repository, "--host", host, "--metrics-host", "127.0.0.1") as server:
        assert server.get("/livez") == (200, "live\n")
    lines = [line for line in server.lines if "plaintext on a public address" in line]
    assert len(lines) == warned


def test_metrics_listen_on_an_address_of_their_own(repository: Path) -> None:
    with running("--model-repository", repository, "--metrics-host", "127.0.0.2") as server:
        with socket.create_connection(("127.0.0.2", server.metrics_port), WAIT_SECONDS):
            pass
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", server.metrics_port), WAIT_SECONDS)
