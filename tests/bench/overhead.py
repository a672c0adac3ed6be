"""Cost of metrics and logs, shadow traffic and capture: `python -m tests.bench.overhead`.

Four servers share one core: as shipped; without metrics, access log and history; with a shadow of a fifth of
the images; with capture of every image. They are measured in turn, so that a drifting machine affects all of
them. CPU time is that of all threads of the server; it determines the throughput of a busy core.
"""

import statistics
import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import numpy as np
from cyclopts import App

from clients import Client
from tests.bench import processes as bench
from tests.bench import results
from tests.bench.blind import BlindServer
from tests.bench.results import Count, Seconds
from tests.bench.swaps import publish
from tests.process import RunningServer

CALLS = 15_000
IMAGES_PER_SECOND = 5000
IMAGES_PER_CALL = 16
SHIPPED = "as shipped"
FIGURES = (
    "CPU us a call, 64 single images in flight",
    f"CPU us an image, {IMAGES_PER_SECOND:,} distinct images/s",
    "p99 ms at half load",
)

app = App(help=__doc__)


@app.default
def main(*, rounds: Count = 9, seconds: Seconds = 4.0) -> int:
    """Measure each server `rounds` times, two loads of `seconds` among others; print medians and ratios."""
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        stable = repository(Path(root, "stable"), '{"stable": 1}')
        shadow = repository(Path(root, "shadow"), '{"stable": 1, "canary": {"version": 2, "shadow": 0.2}}')
        capture = ("--capture-dir", Path(root, "captured"), "--capture-below", 1)
        servers = {
            SHIPPED: bench.server("--model-repository", stable),
            "not observed": bench.server("--model-repository", stable, kind=BlindServer),
            "shadow": bench.server("--model-repository", shadow),
            "capture": bench.server("--model-repository", stable, *capture),
        }
        running = {name: stack.enter_context(server) for name, server in servers.items()}
        half = closed_loop(running[SHIPPED]).calls_per_second / 2
        measured: dict[str, list[tuple[float, ...]]] = {name: [] for name in running}
        for number in range(rounds):
            results.progress(f"round {number + 1} of {rounds}")
            for name in sorted(running, reverse=bool(number % 2)):
                measured[name].append(measure(running[name], half, seconds))
        compared = running["shadow"].metric("digits_shadow_images_total")
        captured = running["capture"].metric("digits_captured_images_total")
    if not compared or not captured:
        raise RuntimeError(f"{compared:.0f} images were compared, {captured:.0f} were captured")
    medians = {
        name: [statistics.median(column) for column in zip(*each, strict=True)]
        for name, each in measured.items()
    }
    rows = []
    for name, figures in medians.items():
        pairs = zip(figures, medians[SHIPPED], strict=True)
        rows.append((name, *(f"{value:.2f} ({value / shipped:.3f})" for value, shipped in pairs)))
    title = f"{rounds} rounds, medians (ratio to the first); half load is {half:,.0f} calls/s"
    results.show(title, ("server", *FIGURES), rows)
    print(f"{compared:,.0f} images compared, {captured:,.0f} captured")
    return 0


def repository(folder: Path, labels: str) -> Path:
    """Make a repository of one shipped model in two versions with these labels."""
    (folder / "digits").mkdir(parents=True)
    for version in (1, 2):
        publish(folder, version)
    (folder / "digits" / "labels.json").write_text(labels)
    return folder


def measure(server: RunningServer, half: float, seconds: float) -> tuple[float, ...]:
    """Return FIGURES of a server."""
    before = cpu_seconds(server)
    closed_loop(server)
    call = (cpu_seconds(server) - before) / CALLS * 1e6
    return call, image_cost(server, seconds), bench.open_loop(server.grpc_port, half, seconds=seconds).p99_ms


def closed_loop(server: RunningServer) -> bench.Load:
    """Send CALLS calls of one image, 64 in flight."""
    return bench.closed_loop(server.grpc_port, 1, inflight=64, calls=CALLS)


def image_cost(server: RunningServer, seconds: float) -> float:
    """Return the CPU time in microseconds per image, at IMAGES_PER_SECOND distinct images."""
    random = np.random.default_rng()
    calls = int(seconds * IMAGES_PER_SECOND / IMAGES_PER_CALL)
    with bench.pinned(bench.LOAD_CORE), Client(server.address) as client:
        client.predict(random.integers(0, 256, (IMAGES_PER_CALL, 784), np.uint8))
        before, started = cpu_seconds(server), time.monotonic()
        for call in range(calls):
            time.sleep(max(0.0, started + call * seconds / calls - time.monotonic()))
            client.predict(random.integers(0, 256, (IMAGES_PER_CALL, 784), np.uint8))
    return (cpu_seconds(server) - before) / (calls * IMAGES_PER_CALL) * 1e6


def cpu_seconds(server: RunningServer) -> float:
    """Return the CPU time of a server's threads, in seconds."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
