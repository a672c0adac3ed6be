"""Programs under measurement, each pinned to one core, the load generator on the other."""

import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil

from protos.digits.v1 import prediction_pb2
from tests.process import RunningServer

CORES = sorted(os.sched_getaffinity(0))
SERVER_CORE, LOAD_CORE = CORES[0], CORES[-1]
PREDICT = "/digits.v1.PredictionService/Predict"


@dataclass(frozen=True, slots=True)
class Load:
    """What one run of the load generator saw; latencies are in seconds."""

    calls_per_second: float
    p50: float
    p90: float
    p99: float
    p999: float


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """Start the processes of this block on one core."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


@contextmanager
def server(*arguments: object, core: int = SERVER_CORE) -> Iterator[RunningServer]:
    """Run our server on one core."""
    with pinned(core):
        running = RunningServer(*arguments)
    try:
        yield running
    finally:
        running.channel.close()
        running.process.terminate()
        running.wait()


def resident_mb(process: subprocess.Popen[str]) -> float:
    """Return the resident memory of a process in MB."""
    rss: int = psutil.Process(process.pid).memory_info().rss
    return rss / 1e6


def random_images(count: int) -> bytes:
    """Return `count` images of noise; a network takes as long for them as for digits."""
    return np.random.default_rng(0).integers(0, 256, count * 784, np.uint8).tobytes()


def load(port: int, images_per_call: int, *, inflight: int, calls: int, path: str = PREDICT) -> Load:
    """Drive `calls` calls through one connection with h2load, `inflight` at a time."""
    message = prediction_pb2.PredictRequest(images=random_images(images_per_call)).SerializeToString()
    with tempfile.TemporaryDirectory() as folder:
        body, log = Path(folder, "body"), Path(folder, "log")
        body.write_bytes(b"\0" + len(message).to_bytes(4, "big") + message)
        command = [
            *("h2load", "--requests", calls, "--clients", 1, "--max-concurrent-streams", inflight),
            *("--threads", 1, "--data", body, "--log-file", log),
            *("--header", "content-type: application/grpc", "--header", "te: trailers"),
            f"http://127.0.0.1:{port}{path}",
        ]
        with pinned(LOAD_CORE):
            output = subprocess.run(
                [str(word) for word in command], check=True, capture_output=True, text=True
            ).stdout
        # A line a call: start (us since the epoch), HTTP status, duration (us).
        seconds = np.loadtxt(log, usecols=2, ndmin=1) / 1e6
    rate = re.search(r"finished in .*?, ([\d.]+) req/s", output)
    if rate is None or f"{calls} succeeded" not in output or len(seconds) != calls:
        raise RuntimeError(f"h2load did not complete {calls} calls:\n{output}")
    return Load(float(rate[1]), *np.percentile(seconds, [50, 90, 99, 99.9]).tolist())


def raw_images_per_second(model: Path, batch_images: int, seconds: float = 2.0) -> float:
    """Measure ONNX Runtime alone, one thread, on the server's core."""
    code = (
        "import sys, time, numpy as np; from pathlib import Path; from server.model import _session\n"
        "model, batch, seconds = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])\n"
        "session = _session(model.read_bytes(), model.parent, 1)\n"
        "images = np.random.default_rng(0).integers(0, 256, (batch, 784), np.uint8)\n"
        "run = lambda: session.run(['probabilities'], {'images': images})\n"
        "[run() for _ in range(20)]; runs = 0; start = time.monotonic()\n"
        "while time.monotonic() - start < seconds: run(); runs += 1\n"
        "print(runs * batch / (time.monotonic() - start))\n"
    )
    with pinned(SERVER_CORE):
        command = [sys.executable, "-c", code, str(model), str(batch_images), str(seconds)]
        return float(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def medians(rounds: list[dict[str, float]]) -> dict[str, float]:
    """Return the median of each figure over the rounds."""
    return {name: statistics.median(each[name] for each in rounds) for name in rounds[0]}


def write_json(path: Path, content: object) -> None:
    """Write results where a later run can be compared with them."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=2) + "\n")
