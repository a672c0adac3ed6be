"""The server compared with other model servers, on one core: `make bench-peers`.

All serve the shipped float graph with the same release of ONNX Runtime and one thread; ours also its 8-bit
graph. Rounds alternate between the servers, and the table has medians. Fails if a digit is wrong or a call
fails.
"""

import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc
import onnxruntime as ort
from cyclopts import App

from server.model.manifest import Golden, VersionFiles
from tests.bench import processes as bench
from tests.bench import results
from tests.bench.peers import wires
from tests.bench.results import Count
from tests.bench.run import check
from tests.process import free_port
from tests.shipped import SHIPPED_DIGITS

PEERS = Path("tests/bench/peers")
ENVIRONMENTS = Path("build/peers")
START_SECONDS = 30
LOAD_SECONDS = 1.2
WARMUP_CALLS = 100
TRITON = "triton"
# Measurements: images per call, calls in flight.
CALLS, IMAGES, LATENCY = (
    "1 image, 64 in flight, calls/s",
    "64 images, 8 in flight, images/s",
    "1 in flight, p50 ms",
)
# The graph of all servers.
FLOAT = ("--precision", "float32")
Figures = dict[str, float]

app = App(help=__doc__)


@dataclass(frozen=True, slots=True)
class Contender:
    """A server to compare: ours, or a peer in a folder beside this file."""

    title: str  # the name, and after a comma how it is called
    wire: wires.Wire
    peer: str = ""
    flags: tuple[str, ...] = ()  # of our server

    @contextmanager
    def serving(self, model: Path) -> Iterator[int]:
        """Run it on the server's core; yield its port."""
        if self.peer:
            with peer(self.peer, model) as port:
                yield port
        else:
            with bench.server(*self.flags) as running:
                yield running.grpc_port
                check(running)


CONTENDERS = (
    Contender("digit-server", wires.OURS, flags=FLOAT),
    Contender("digit-server, Open Inference Protocol", wires.OPEN_INFERENCE, flags=FLOAT),
    Contender("digit-server, the version's 8-bit graph", wires.OURS),
    Contender("Triton", wires.OPEN_INFERENCE, TRITON),
    Contender("KServe SDK", wires.OPEN_INFERENCE, "kserve"),
    Contender("MLServer", wires.OPEN_INFERENCE, "mlserver"),
    Contender("MLServer, images as BYTES", wires.OPEN_INFERENCE_BYTES, "mlserver"),
    Contender("LitServe", wires.JsonOverHttp(), "litserve"),
)


@app.default
def main(*, rounds: Count = 3) -> int:
    """Measure `rounds` times, print a table, write JSON."""
    golden = VersionFiles.read(SHIPPED_DIGITS, SHIPPED_DIGITS.parent.parent).manifest.golden
    there = [each for each in CONTENDERS if each.peer != TRITON or (ENVIRONMENTS / TRITON).exists()]
    if len(there) < len(CONTENDERS):
        print("NOT MEASURED: Triton, since nvidia-pytriton cannot be installed here")
    titles = {contender: titled(contender) for contender in there}
    measured: dict[str, list[Figures]] = {title: [] for title in titles.values()}
    for number in range(1, rounds + 1):
        for contender, title in titles.items():
            results.progress(f"round {number} of {rounds}: {title}")
            with contender.serving(SHIPPED_DIGITS / "model.onnx") as port:
                verify(contender.wire, port, golden)
                measured[title].append(measure(contender.wire, port))
    medians = {
        title: {name: statistics.median(figures[name] for figures in each) for name in each[0]}
        for title, each in measured.items()
    }
    show(medians)
    results.write("peers.json", {"onnxruntime": ort.__version__, "rounds": measured, "medians": medians})
    return 0


def titled(contender: Contender) -> str:
    """Return a contender's name and version; raise RuntimeError if its ONNX Runtime differs from ours."""
    if not contender.peer:
        return contender.title
    pins = (PEERS / contender.peer / "requirements.txt").read_text().split()
    if f"onnxruntime=={ort.__version__}" not in pins:
        raise RuntimeError(
            f"{contender.peer}/requirements.txt must pin onnxruntime=={ort.__version__}, as ours"
        )
    package = {TRITON: "nvidia-pytriton"}.get(contender.peer, contender.peer)
    version = next(pin.partition("==")[2] for pin in pins if pin.startswith(f"{package}=="))
    if contender.peer == TRITON:
        version = f"of PyTriton {version}"
    name, comma, how = contender.title.partition(",")
    return f"{name} {version}{comma}{how}"


@contextmanager
def peer(name: str, model: Path) -> Iterator[int]:
    """Run a peer in its own environment; yield its port before it may be ready."""
    port = free_port()
    python = ENVIRONMENTS / name / "bin/python"
    command = [str(python), "-m", f"tests.bench.peers.{name}.serve", str(model.resolve()), str(port)]
    with (ENVIRONMENTS / f"{name}.log").open("w") as log, bench.pinned(bench.SERVER_CORE):
        # A process group rather than a session, between which the kernel would share a busy core equally.
        process = subprocess.Popen(command, stdout=log, stderr=log, process_group=0)
    try:
        yield port
    finally:
        # All of its processes; some are slow to terminate.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def verify(wire: wires.Wire, port: int, golden: Golden) -> None:
    """Wait until a server answers; raise RuntimeError if it does not, or wrongly."""
    give_up = time.monotonic() + START_SECONDS
    while True:
        try:
            digits = wire.ask(port, golden.images)
            break
        except (OSError, grpc.RpcError) as error:
            if time.monotonic() > give_up:
                raise RuntimeError(f"no answer within {START_SECONDS} s: {error}") from error
            time.sleep(0.2)  # the peers have no common readiness event
    if digits != golden.digits:
        raise RuntimeError(f"answered {digits}, expected {golden.digits}")


def measure(wire: wires.Wire, port: int) -> Figures:
    """Measure a server in three ways, for about equal times."""

    def drive(images_per_call: int, inflight: int) -> bench.Load:
        images = bench.random_images(images_per_call)
        with bench.pinned(bench.LOAD_CORE):
            rate = wire.drive(port, images, inflight=inflight, calls=WARMUP_CALLS).calls_per_second
            calls = max(WARMUP_CALLS, int(LOAD_SECONDS * rate))
            return wire.drive(port, images, inflight=inflight, calls=calls)

    return {
        CALLS: drive(1, 64).calls_per_second,
        IMAGES: drive(64, 8).calls_per_second * 64,
        LATENCY: drive(1, 1).p50_ms,
    }


def show(medians: dict[str, Figures]) -> None:
    """Print the figures and the ratios to our server."""
    best = next(iter(medians.values()))
    rows = []
    for title, figures in medians.items():
        cells = [
            f"{value:,.2f} ({value / best[name]:.1f}x)"
            if name == LATENCY
            else f"{value:,.0f} ({best[name] / value:.1f}x)"
            for name, value in figures.items()
        ]
        rows.append((title, *cells))
    title = f"One core for the server, ONNX Runtime {ort.__version__}, medians (ours is times better)"
    results.show(title, ("server", *best), rows)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
