import json
import signal
import threading

import pytest

from clients.cli import main
from clients.testing import FakeServer
from protos.digits.v1 import prediction_pb2
from tests.unit.clients.conftest import Run, started

State = prediction_pb2.Model.State


def test_server_comes_from_the_environment(
    fake: FakeServer, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DIGITS_SERVER", fake.address)
    assert main(["health"]) == 0
    assert capsys.readouterr().out == f"{fake.address} is ready\n"


def test_server_that_is_not_ready_is_exit_code_1(fake: FakeServer, run: Run) -> None:
    fake.set_ready("", ready=False)
    ended = run("health")
    assert ended.code == 1
    assert "NOT ready" in ended.out


def test_wait_waits_until_the_server_is_ready(fake: FakeServer, run: Run) -> None:
    fake.set_ready("", ready=False)
    threading.Timer(0.1, lambda: fake.set_ready("", ready=True)).start()
    assert run("health", "--wait", 30).code == 0
    fake.set_ready("", ready=False)
    ended = run("health", "--wait", 0.1)
    assert ended.code == 1
    assert "was not ready within 0.1 s" in ended.err


def test_watch_prints_a_line_a_change_until_ctrl_c(fake: FakeServer) -> None:
    with started("health", "digits", "--watch", "-s", fake.address) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline()]
        for ready in (True, False):
            fake.set_ready("digits", ready=ready)
            lines.append(process.stdout.readline())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert [line.split(" is ")[1].strip() for line in lines] == ["unknown", "ready", "not ready"]
    assert (process.returncode, err) == (130, "")


def test_models_are_listed(fake: FakeServer, run: Run) -> None:
    fake.models = [
        prediction_pb2.Model(
            name="digits", version=3, state=State.STATE_SERVING, accuracy=0.9912,
            labels=["canary", "stable"], share=0.05,
        ),
        prediction_pb2.Model(
            name="digits", version=4, state=State.STATE_REFUSED, reason="golden set differs"
        ),
    ]  # fmt: skip
    heading, serving, refused = run("models").out.splitlines()
    assert heading.split() == [
        "model", "version", "state", "labels", "traffic", "accuracy", "recipe", "provider", "created",
    ]  # fmt: skip
    assert serving.split() == ["digits", "3", "serving", "canary,stable", "5%", "99.12%", "-", "-", "-"]
    assert "refused: golden set differs" in refused


def test_metadata_tells_what_the_server_knows(fake: FakeServer, run: Run) -> None:
    fake.models = [prediction_pb2.Model(name="digits", version=3, sha256="abc", recipe="digits")]
    assert run("metadata").out.split() == ["name", "digits", "version", "3", "state", "unspecified",
                                           "sha256", "abc", "recipe", "digits"]  # fmt: skip
    ended = run("metadata", "none")
    assert ended.code == 1
    assert "model 'none' is not known" in ended.err


def test_status_shows_health_models_and_traffic(fake: FakeServer, run: Run) -> None:
    serving = State.STATE_SERVING
    fake.models = [
        prediction_pb2.Model(name="digits", version=3, state=serving, share=0.95),
        prediction_pb2.Model(name="digits", version=4, state=serving, labels=["canary"], share=0.05),
    ]
    fake.set_ready("digits", ready=True)
    ended = run("status")
    assert ended.code == 0
    lines = ended.out.splitlines()
    assert lines[:3] == [
        f"server         {fake.address}, ready",
        "default model  digits",
        "digits         ready",
    ]
    assert [line.split()[4] for line in lines[5:]] == ["95%", "5%"]
    fake.set_ready("", ready=False)
    ended = run("status", "-o", "json")
    assert ended.code == 1
    assert json.loads(ended.out)["health"] == {"digits": "ready"}
