"""A full disk and too few file descriptors."""

import os
import resource
import socket
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import grpc
import psutil
import pytest

from clients import Client, Connection
from protos.digits.v1.prediction_pb2 import PredictRequest
from protos.digits.v1.prediction_pb2_grpc import PredictionServiceStub
from server.rpc.connections import OTHER_FILES
from tests.conftest import Publish
from tests.load import DIGIT, IMAGE
from tests.process import DEFAULTS, WAIT_SECONDS, RunningServer, running, until

REQUEST = PredictRequest(images=IMAGE.tobytes())


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port: int = one.getsockname()[1]
        return port


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_log_on_a_full_disk_fails_no_call(tmp_path: Path, publish: Publish, log_format: str) -> None:
    publish(tmp_path)
    port = free_port()
    settings = {"DIGITS_GRPC_PORT": str(port), "DIGITS_LOG_LEVEL": "debug", "DIGITS_LOG_FORMAT": log_format}
    with Path("/dev/full").open("w") as full:
        process = subprocess.Popen(
            [sys.executable, "-m", "server.cli", "--model-repository", tmp_path],
            stderr=full,
            env=os.environ | DEFAULTS | settings,
        )
    with Client(Connection(address=f"127.0.0.1:{port}", connect_timeout_seconds=WAIT_SECONDS)) as client:
        states = client.watch()
        assert "ready" in states
        for _ in range(100):
            assert client.predict(IMAGE)[0].digit == DIGIT
    process.terminate()
    process.wait(WAIT_SECONDS)


def test_exhausted_file_descriptors_cost_no_caller_that_is_connected(
    tmp_path: Path, publish: Publish
) -> None:
    publish(tmp_path)
    with running("--model-repository", tmp_path, "--repository-poll-seconds", 0.05) as server:
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
        before = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, before[1]))
        assert "Too many open files" in server.event("repository problem")["problem"]
        with socket.create_connection(("127.0.0.1", server.grpc_port)):
            for _ in range(100):
                assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
        resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, before)
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            answer = PredictionServiceStub(channel).Predict(
                REQUEST, timeout=WAIT_SECONDS, wait_for_ready=True
            )
            assert list(answer.digits) == [DIGIT]
        assert server.get("/readyz")[0] == 200


class WithFewFiles(RunningServer):
    """A server that may open few files."""

    prefix = ("prlimit", f"--nofile={OTHER_FILES + 20}")


def test_connections_are_bounded_by_the_files_that_may_be_open(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    with running("--model-repository", tmp_path, kind=WithFewFiles) as server, ExitStack() as stack:
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
        process = psutil.Process(server.process.pid)
        files = process.num_fds()
        crowd = [
            stack.enter_context(socket.create_connection(("127.0.0.1", server.grpc_port), WAIT_SECONDS))
            for _ in range(100)
        ]
        refused = [connection for connection in crowd[20:] if connection.recv(1000) == b""]
        assert len(refused) == 80
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
        assert server.get("/readyz")[0] == 200
        stack.close()
        until(lambda: process.num_fds() <= files)
        with grpc.insecure_channel(server.address, [("grpc.use_local_subchannel_pool", 1)]) as channel:
            answer = PredictionServiceStub(channel).Predict(REQUEST, timeout=WAIT_SECONDS)
            assert list(answer.digits) == [DIGIT]
