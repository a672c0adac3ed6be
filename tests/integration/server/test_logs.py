"""The log of a real server."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.process import WAIT_SECONDS, RunningServer, ServerProcess, running

IMAGE = bytes(784)
TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"
METADATA = (("x-request-id", "from-the-shop"), ("traceparent", f"00-{TRACE_ID}-00f067aa0ba902b7-01"))


@pytest.fixture
def repository(tmp_path: Path, publish: Publish) -> Path:
    publish(tmp_path)
    return tmp_path


@pytest.fixture(params=[1, 2])
def server(repository: Path, request: pytest.FixtureRequest) -> Iterator[RunningServer]:
    with running("--model-repository", repository, "--workers", request.param) as server:
        yield server


def ask(server: RunningServer, images: bytes = IMAGE) -> None:
    server.stub.Predict(PredictRequest(images=images), metadata=METADATA, timeout=WAIT_SECONDS)


def check(event: dict[str, Any]) -> None:
    assert (event["method"], event["code"], event["images"]) == ("Predict", "OK", 1)
    assert (event["request_id"], event["trace_id"]) == ("from-the-shop", TRACE_ID)
    assert event["ms"] >= event["queue_ms"] + event["compute_ms"] > 0
    assert event["batch_images"] == 1
    assert event["peer"].startswith("ipv4:127.0.0.1:")


def test_slow_call_is_logged_with_where_its_time_went_and_who_asked(repository: Path) -> None:
    with running("--model-repository", repository, "--slow-call-seconds", 1e-6) as server:
        ask(server)
        event = server.event("slow call")
        assert event["level"] == "warning"
        check(event)


def test_slow_calls_of_one_second_share_a_few_lines(repository: Path) -> None:
    with running("--model-repository", repository, "--slow-call-seconds", 1e-6) as server:
        for _ in range(200):
            server.predict(IMAGE)
        server.process.terminate()
        server.event("stopped")
        lines = [line for line in server.lines if '"slow call"' in line]
        assert 10 <= len(lines) < 200


def test_every_call_is_logged_at_debug(repository: Path) -> None:
    with running("--model-repository", repository, "--log-level", "debug") as server:
        ask(server)
        check(server.event("call"))
        with pytest.raises(grpc.RpcError):
            ask(server, b"x")
        refused = server.event("call")
        assert refused["code"] == "INVALID_ARGUMENT"
        assert "images" not in refused


def test_no_call_is_logged_by_default(repository: Path) -> None:
    with running("--model-repository", repository) as server:
        ask(server)
        server.process.terminate()
        server.event("stopped")
        assert not [line for line in server.lines if TRACE_ID in line]


def test_sigusr2_logs_every_call_until_it_is_sent_again(server: RunningServer) -> None:
    server.process.send_signal(signal.SIGUSR2)
    while not any('"call"' in line for line in server.lines):
        ask(server)  # on one connection, so by one worker
    check(server.event("call"))
    server.process.send_signal(signal.SIGUSR2)
    before = -1
    while before != (before := sum('"call"' in line for line in server.lines)):
        ask(server)
        server.get("/livez")


def test_sigusr1_logs_threads_and_queues(server: RunningServer) -> None:
    processes = 1 if server.metric("digits_workers") == 1 else 3
    server.process.send_signal(signal.SIGUSR1)
    for _ in range(max(processes - 1, 1)):
        queue = server.event("queue")
        assert (queue["name"], queue["queued_images"], queue["oldest_seconds"]) == ("digits/1", 0, 0.0)
    stacks = [line for line in server.lines if '"event": "threads"' in line and '"MainThread"' in line]
    assert len(stacks) == processes
    assert len([line for line in stacks if "rpc/server.py" in line]) == max(processes - 1, 1)
    assert server.predict(IMAGE).digits  # and it goes on


def test_threads_are_logged_though_the_main_thread_is_stuck() -> None:
    program = """
import os, signal, threading
from server.observability import logs
from server.process import signals
signals.block()
logs.configure("console", "info")
done = threading.Event()
signals.Signals().diagnosed = done.set
def stuck():
    os.kill(os.getpid(), signal.SIGUSR1)
    done.wait()
stuck()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=WAIT_SECONDS, check=True
    )
    assert "in stuck\n" in done.stderr


def test_person_reads_where_the_server_is_and_what_it_serves(repository: Path) -> None:
    process = ServerProcess("--model-repository", repository, env={"DIGITS_LOG_FORMAT": "console"})
    while not any("model " in line for line in process.lines):
        assert process.process.poll() is None
    grpc_line, status, model = process.lines[-3:]
    assert grpc_line.split()[0] == "gRPC"
    assert "127.0.0.1:" in grpc_line
    assert status.split()[1].startswith("http://127.0.0.1:")
    assert model.split(maxsplit=1)[1] == "digits/1: accuracy 50.00%, float32 on cpu, the default model"
    process.process.terminate()
    assert process.wait() == 0
