"""Real server processes for tests."""

import inspect
import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import grpc
import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from protos.digits.v1 import prediction_pb2, prediction_pb2_grpc

WAIT_SECONDS = 30
# Defaults of tests: free ports, a JSON log, no drain.
DEFAULTS = {
    "DIGITS_GRPC_PORT": "0",
    "DIGITS_METRICS_PORT": "0",
    "DIGITS_LOG_FORMAT": "json",
    "DIGITS_DRAIN_SECONDS": "0",
}


def until(condition: Callable[[], object], *, seconds: float = WAIT_SECONDS) -> None:
    """Wait for a condition that has no event; fail if it does not hold in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not within {seconds} s: {inspect.getsource(condition).strip()}"
        time.sleep(0.005)


def free_port() -> int:
    """Return a port that nothing listens on, for programs that cannot choose one."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        number: int = listener.getsockname()[1]
        return number


class ServerProcess:
    """`digit-server` with a JSON log, whose events are read as they are written."""

    module = "server.cli"
    prefix: tuple[str, ...] = ()  # a command that runs the server

    def __init__(self, *arguments: object, env: dict[str, str] | None = None) -> None:
        command = [*self.prefix, sys.executable, "-m", self.module, *map(str, arguments)]
        environment = os.environ | DEFAULTS | (env or {})
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment)
        self.lines: list[str] = []
        self._events: queue.Queue[dict[str, Any] | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self.lines.append(line.rstrip("\n"))
            if line.startswith("{"):
                self._events.put(json.loads(line))
        self._events.put(None)

    def event(self, name: str) -> dict[str, Any]:
        """Wait for the log line of an event."""
        while (event := self._events.get(timeout=WAIT_SECONDS)) is not None:
            if event["event"] == name:
                return event
        raise AssertionError(f"the server ended without {name!r}: {self.lines}")

    @property
    def workers(self) -> list[psutil.Process]:
        """The worker processes; none without a supervisor."""
        return psutil.Process(self.process.pid).children()

    def wait(self) -> int:
        """Wait for the end of the process; return its exit code."""
        code = self.process.wait(WAIT_SECONDS)
        self._reader.join(WAIT_SECONDS)
        return code


class RunningServer(ServerProcess):
    """A server that is ready."""

    def __init__(self, *arguments: object, env: dict[str, str] | None = None) -> None:
        started = time.monotonic()
        super().__init__(*arguments, env=env)
        ready = self.event("ready")
        self.start_seconds = time.monotonic() - started
        self.address = f"127.0.0.1:{ready['grpc_port']}"
        self.grpc_port: int = ready["grpc_port"]
        self.metrics_port: int = ready["metrics_port"]
        self.health_port: int | None = ready.get("health_port")
        self.channel = grpc.insecure_channel(self.address)
        self.stub = prediction_pb2_grpc.PredictionServiceStub(self.channel)

    def predict(self, images: bytes, **fields: Any) -> prediction_pb2.PredictResponse:
        """Call Predict."""
        request = prediction_pb2.PredictRequest(images=images, **fields)
        response: prediction_pb2.PredictResponse = self.stub.Predict(request, timeout=WAIT_SECONDS)
        return response

    def get(self, path: str) -> tuple[int, str]:
        """GET a page of the metrics port; return status and text."""
        try:
            with urllib.request.urlopen(
                f"http://127.0.0.1:{self.metrics_port}{path}", timeout=WAIT_SECONDS
            ) as page:
                return page.status, page.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def scrape(self) -> "Scrape":
        """Read /metrics."""
        return Scrape(self.get("/metrics")[1])

    def metric(self, name: str, **labels: str) -> float:
        """Read /metrics; return the sum of the samples of a name with these labels."""
        return self.scrape().metric(name, **labels)

    def reaches(self, metric: str, value: float, **labels: str) -> None:
        """Wait until a metric is at least `value`."""
        until(lambda: self.metric(metric, **labels) >= value)


class Scrape:
    """The samples of one reading of /metrics."""

    def __init__(self, text: str) -> None:
        self._samples: dict[str, list[Sample]] = {}
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                self._samples.setdefault(sample.name, []).append(sample)

    def metric(self, name: str, **labels: str) -> float:
        """Return the sum of the samples of a name with these labels."""
        samples = self._samples.get(name, [])
        return sum(sample.value for sample in samples if labels.items() <= sample.labels.items())


def failed_start(*arguments: object, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Start a server that cannot start; return its exit code and its one line."""
    process = ServerProcess(*arguments, env=env)
    code = process.wait()
    last = process.lines[-1]
    assert last.startswith("digit-server: ")
    assert not [line for line in process.lines if "Traceback" in line]
    return code, last.removeprefix("digit-server: ")


def failure(call: Callable[[], object]) -> tuple[str, str]:
    """Make a call that fails; return its status code and message."""
    with pytest.raises(grpc.RpcError) as caught:
        call()
    assert isinstance(caught.value, grpc.Call)
    return caught.value.code().name, caught.value.details()


Server = TypeVar("Server", bound=RunningServer)


@contextmanager
def running(
    *arguments: object,
    env: dict[str, str] | None = None,
    kind: type[Server] = RunningServer,  # type: ignore[assignment]  # a default of a type variable's type
) -> Iterator[Server]:
    """Run a server during a block, and stop it as an orchestrator would."""
    server = kind(*arguments, env=env)
    try:
        yield server
    finally:
        server.channel.close()
        server.process.terminate()
        try:
            server.wait()
        finally:
            server.process.kill()
