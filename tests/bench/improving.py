"""Cost of shadow traffic and capture: `python -m tests.bench.improving`.

Three servers share one core: one with neither, one with a shadow of a fifth of the images, one that captures
every image. They are measured in turn, so that a drifting machine affects all of them. Latencies are those of
an open loop at half the capacity. CPU time is that of all threads of the server, for calls of 16 distinct
images.
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
from tests.bench.observing import cpu_seconds
from tests.bench.swaps import publish
from tests.process import RunningServer

IMAGES_PER_SECOND = 5000
IMAGES_PER_CALL = 16

app = App(help=__doc__)


def repository(folder: Path, labels: str) -> Path:
    """Make a repository of one shipped model in two versions with these labels."""
    (folder / "digits").mkdir(parents=True)
    for version in (1, 2):
        publish(folder, version)
    (folder / "digits" / "labels.json").write_text(labels)
    return folder


def cost(server: RunningServer, seconds: float) -> float:
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


@app.default
def main(*, rounds: int = 9, seconds: float = 4.0) -> int:
    """Measure each server `rounds` times for `seconds`; print medians and ratios."""
    with tempfile.TemporaryDirectory() as root, ExitStack() as stack:
        stable = repository(Path(root, "stable"), '{"stable": 1}')
        shadow = repository(Path(root, "shadow"), '{"stable": 1, "canary": {"version": 2, "shadow": 0.2}}')
        capture = ("--capture-dir", Path(root, "captured"), "--capture-below", 1)
        servers = {
            "neither": stack.enter_context(bench.server("--model-repository", stable)),
            "shadow": stack.enter_context(bench.server("--model-repository", shadow)),
            "capture": stack.enter_context(bench.server("--model-repository", stable, *capture)),
        }
        closed = bench.closed_loop(servers["neither"].grpc_port, 1, inflight=64, calls=30_000)
        half = closed.calls_per_second / 2
        latencies: dict[str, list[float]] = {name: [] for name in servers}
        costs: dict[str, list[float]] = {name: [] for name in servers}
        for number in range(rounds):
            for name in sorted(servers, reverse=bool(number % 2)):
                latencies[name].append(bench.open_loop(servers[name].grpc_port, half, seconds=seconds).p99_ms)
                costs[name].append(cost(servers[name], seconds))
        compared = servers["shadow"].metric("digits_shadow_images_total")
        captured = servers["capture"].metric("digits_captured_images_total")
    if not compared or not captured:
        raise RuntimeError(f"{compared:.0f} images were compared, {captured:.0f} were captured")
    rows = []
    for name in servers:
        cells = []
        for figures in (latencies, costs):
            median = statistics.median(figures[name])
            cells += [f"{median:.2f}", f"{median / statistics.median(figures['neither']):.3f}"]
        rows.append((name, *cells))
    cost_heading = f"CPU us an image at {IMAGES_PER_SECOND:,}/s"
    headings = ("", "p99 ms at half load", "ratio", cost_heading, "ratio")
    results.show(f"{rounds} rounds; half load is {half:,.0f} calls/s", headings, rows)
    print(f"{compared:,.0f} images compared, {captured:,.0f} captured")
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
