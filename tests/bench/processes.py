"""Processes of benchmarks: the server pinned to one core, the load to the other."""

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil

from protos.digits.v1 import prediction_pb2
from tests.bench.open_loop import Load
from tests.process import RunningServer
from tests.wire import PREDICT, framed

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
GRPC = ("--header", "content-type: application/grpc", "--header", "te: trailers")


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Pin processes started in this block to cores."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def server(
    *arguments: object, cores: tuple[int, ...] = (SERVER_CORE,), kind: type[RunningServer] = RunningServer
) -> Iterator[RunningServer]:
    """Run the server on some cores."""
    with pinned(*cores):
        running = kind(*arguments)
    try:
        yield running
    finally:
        running.channel.close()
        running.process.terminate()
        running.wait()


@contextmanager
def echo(module: str) -> Iterator[int]:
    """Run a bare echo server on the server's core; yield its port."""
    with pinned(SERVER_CORE):
        process = subprocess.Popen([sys.executable, "-m", module], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield int(process.stdout.readline())
    finally:
        process.kill()
        process.communicate()


def resident_mb(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process in MB."""
    rss: int = psutil.Process(process.pid).memory_info().rss
    return rss / 1e6


def random_images(count: int) -> bytes:
    """Return `count` images of noise, which cost as much as digits."""
    return np.random.default_rng(0).integers(0, 256, count * 784, np.uint8).tobytes()


def closed_loop(  # noqa: PLR0913 - the server, what to send, how much at a time, from where
    port: int,
    images_per_call: int,
    *,
    inflight: int,
    calls: int,
    connections: int = 1,
    cores: Sequence[int] = (LOAD_CORE,),
) -> Load:
    """Send `calls` calls of Predict, `inflight` at a time on each connection."""
    message = prediction_pb2.PredictRequest(images=random_images(images_per_call)).SerializeToString()
    with pinned(*cores):
        return post(
            f"http://127.0.0.1:{port}{PREDICT}",
            framed(message),
            (*GRPC, "--clients", str(connections)),
            inflight=inflight,
            calls=calls,
        )


def post(url: str, body: bytes, options: tuple[str, ...], *, inflight: int, calls: int) -> Load:
    """Post `body` `calls` times with h2load, `inflight` at a time on each connection.

    `options` are h2load's; by default it uses HTTP/2 on one connection.
    """
    with tempfile.TemporaryDirectory() as folder:
        data, log = Path(folder, "body"), Path(folder, "log")
        data.write_bytes(body)
        command = [
            *("h2load", "--requests", calls, "--max-concurrent-streams", inflight),
            *("--threads", 1, "--data", data, "--log-file", log, "--window-bits", 20),
            *("--connection-window-bits", 20),
            *options,
            url,
        ]
        output = subprocess.run(
            [str(word) for word in command], check=True, capture_output=True, text=True
        ).stdout
        # A line per call: start (us since the epoch), HTTP status, duration (us).
        milliseconds = np.loadtxt(log, usecols=2, ndmin=1) / 1e3
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", output)
    answers = re.search(r"\((\d+)\) data", output)
    if not (rate and answers) or f"{calls} succeeded" not in output or len(milliseconds) != calls:
        raise RuntimeError(f"h2load did not complete {calls} calls:\n{output}")
    percentiles = np.percentile(milliseconds, [50, 90, 99, 99.9]).tolist()
    return Load(float(rate[1]), *percentiles, answer_bytes=int(answers[1]))


def open_loop(  # noqa: PLR0913 - the server, what to send, how often, how long to wait for an answer
    port: int,
    rate: float,
    *,
    seconds: float,
    images_per_call: int = 1,
    connections: int = 8,
    timeout_ms: int = 10_000,
) -> Load:
    """Send calls of Predict at `rate` per second as a Poisson process."""
    return Load(
        **json.loads(
            _printed(
                *(LOAD_CORE, "open_loop", port, rate, "--seconds", seconds),
                *("--images-per-call", images_per_call, "--connections", connections),
                *("--timeout-ms", timeout_ms),
            )
        )
    )


def stream(port: int, messages: int) -> float:
    """Return the messages per second of one bidirectional stream."""
    return float(_printed(LOAD_CORE, "stream_load", port, messages))


def raw_images_per_second(model: Path, batch_images: int, seconds: float = 1.5) -> float:
    """Measure ONNX Runtime alone, one thread, on the server's core."""
    return float(_printed(SERVER_CORE, "raw", model, batch_images, seconds))


def _printed(core: int, module: str, *arguments: object) -> str:
    """Run a program of this folder on a core; return what it prints."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
    with pinned(core):
        return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
