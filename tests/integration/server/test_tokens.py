"""Bearer tokens, from creation to use."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients import Client, Connection, ServerError
from clients.cli import main as digit_client
from tests.process import WAIT_SECONDS, RunningServer, ServerProcess, running, until

ROOT = Path(__file__).parents[3]
IMAGE = np.zeros((28, 28), np.uint8)


def documented(folder: Path) -> str:
    """Make a token as SECURITY.md tells to; return it."""
    text = (ROOT / "SECURITY.md").read_text()
    (block,) = [each for each in text.split("```") if "openssl rand" in each]
    commands = [line.removeprefix("$ ") for line in block.splitlines() if line.startswith("$ ")]
    script = "\n".join([*commands, 'echo "$token"'])
    made = subprocess.run(["/bin/sh", "-c", script], cwd=folder, check=True, capture_output=True, text=True)
    return made.stdout.strip()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    return tmp_path / "tokens"


@pytest.fixture
def token(tmp_path: Path) -> str:
    return documented(tmp_path)


@pytest.fixture
def server(repository: Path, tokens: Path, token: str) -> Iterator[RunningServer]:
    assert token not in tokens.read_text()
    with running("--model-repository", repository, "--token-file", tokens) as server:
        yield server


def answer(server: RunningServer, token: str) -> str:
    """Call Predict; return OK or the error."""
    with Client(Connection(address=server.address, token=token, attempts=1)) as client:
        try:
            client.predict([IMAGE])
        except ServerError as error:
            return f"{error.code.name}: {error}"
    return "OK"


def test_only_callers_with_a_token_are_answered(server: RunningServer, token: str) -> None:
    assert answer(server, token) == "OK"
    assert "expected authorization: Bearer TOKEN" in answer(server, "")
    assert answer(server, "").startswith("UNAUTHENTICATED")
    assert "UNAUTHENTICATED: the call's token is not known" in answer(server, token[:-1])
    labels = {"method": "Predict", "code": "UNAUTHENTICATED"}
    assert server.metric("digits_requests_total", **labels) == 3


def test_the_command_line_sends_its_token(
    server: RunningServer, token: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert digit_client(["models", "--server", server.address, "--token", token]) == 0
    capsys.readouterr()
    assert digit_client(["models", "--server", server.address]) == 1
    assert "expected authorization: Bearer TOKEN" in capsys.readouterr().err


def test_health_needs_no_token(server: RunningServer) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)
    status = stub.Check(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS).status
    assert status == health_pb2.HealthCheckResponse.SERVING


def test_no_token_is_logged(repository: Path, tokens: Path, token: str) -> None:
    wrong = "not-a-token-of-ours"
    arguments = ("--token-file", tokens, "--log-level", "debug")
    with running("--model-repository", repository, *arguments) as server:
        assert answer(server, token) == "OK"
        assert answer(server, wrong) != "OK"
    assert not [line for line in server.lines if token in line or wrong in line]


def test_a_token_may_be_good_for_some_methods_only(server: RunningServer, tokens: Path, token: str) -> None:
    tokens.write_text(tokens.read_text().strip() + " ListModels,GetModel\n")
    while answer(server, token) == "OK":
        pass  # until the server has looked at the file again
    assert "PERMISSION_DENIED: the call's token does not allow Predict" in answer(server, token)
    with Client(Connection(address=server.address, token=token)) as client:
        assert [model.name for model in client.models()] == ["digits"]


def test_changes_count_without_a_restart(server: RunningServer, tokens: Path, token: str) -> None:
    good = tokens.read_text()
    tokens.write_text(good + "no hash\n")
    while not [line for line in server.lines if "tokens kept" in line]:
        assert answer(server, token) == "OK"  # what cannot be read revokes nothing
    problem = server.event("tokens kept")["problem"]
    assert problem == f"token file {tokens}, line 2: expected NAME SHA256 or NAME SHA256 METHOD,METHOD"
    tokens.write_text("")
    until(lambda: answer(server, token) != "OK")
    assert "not known" in answer(server, token)
    tokens.write_text(f"# back again\n\n{good}")
    until(lambda: answer(server, token) == "OK")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_file_that_cannot_be_used_ends_the_start_with_the_reason(
    repository: Path, tokens: Path, workers: int
) -> None:
    arguments = ("--model-repository", repository, "--token-file", tokens, "--workers", workers)
    for content, reason in (
        (None, f"token file {tokens} cannot be read: No such file or directory"),
        ("secret", f"token file {tokens}, line 1: expected NAME SHA256 or NAME SHA256 METHOD,METHOD"),
    ):
        if content is not None:
            tokens.write_text(content)
        process = ServerProcess(*arguments)
        assert process.wait() == 1
        assert process.lines[-1] == f"digit-server: {reason}"
