"""The server compared with raw ONNX Runtime and bare echo servers, on one core: `make bench`.

Rounds alternate between the compared programs, so that a drifting machine affects all of them; the table has
medians. Ratios carry over to other machines, absolute figures do not. Fails if a call failed.
"""

import statistics
import sys

from cyclopts import App

from server.observability.table import CODES
from tests.bench import processes as bench
from tests.bench import results
from tests.bench.results import Count
from tests.process import RunningServer
from tests.shipped import SHIPPED_DIGITS

RAW_BATCHES = (1, 8, 16, 32, 64, 128)
ECHOES = {"grpc.aio echo": "tests.bench.echo", "completion queue echo": "tests.bench.cq_echo"}
# File and flags of each graph.
GRAPHS = {"float": ("model.onnx", ("--precision", "float32")), "8-bit": ("model.int8.onnx", ())}
# Closed loops: images per call, calls in flight, calls.
CLOSED = ((1, 1, 2000), (1, 64, 15_000), (64, 8, 800), (256, 8, 200))
# Open loops: shares of the capacity.
OPEN = (0.5, 0.8, 2.0)
STREAMED = 20_000
Figures = dict[str, float]

app = App(help=__doc__)


@app.default
def main(*, rounds: Count = 3, soak_images: int = 500_000) -> int:
    """Measure `rounds` times, print a table, write JSON."""
    measured = []
    for number in range(1, rounds + 1):
        results.progress(f"round {number} of {rounds}")
        measured.append(one_round())
    figures = {name: statistics.median(each[name] for each in measured) for name in measured[0]}
    results.progress("memory and two workers")
    figures |= memory(soak_images) | two_workers()
    rows = [(name, f"{value:,.2f}" if value < 1000 else f"{value:,.0f}") for name, value in figures.items()]
    results.show("One core for the server, medians", ("figure", "value"), rows)
    results.write("results.json", {"rounds": measured, "medians": figures})
    return 0


def one_round() -> Figures:
    """Measure everything once."""
    figures = {}
    for name, module in ECHOES.items():
        with bench.echo(module) as port:
            load = bench.closed_loop(port, 1, inflight=64, calls=15_000)
        figures[f"{name}, 64 in flight, calls/s"] = load.calls_per_second
    for graph in GRAPHS:
        figures |= ours(graph, echo=figures["grpc.aio echo, 64 in flight, calls/s"])
    return figures


def ours(graph: str, echo: float) -> Figures:
    """Measure the server with a graph: in closed loops, on a stream, in open loops."""
    file, flags = GRAPHS[graph]
    raw = max(bench.raw_images_per_second(SHIPPED_DIGITS / file, size) for size in RAW_BATCHES)
    figures = {"raw ONNX Runtime, best batch, images/s": raw}
    with bench.server(*flags) as running:
        port = running.grpc_port
        figures["start to ready, s"] = running.start_seconds
        for images, inflight, calls in CLOSED:
            load = bench.closed_loop(port, images, inflight=inflight, calls=calls)
            what = f"{images} per call, {inflight} in flight"
            figures[f"{what}, images/s"] = load.calls_per_second * images
            figures[f"{what}, of raw"] = load.calls_per_second * images / raw
            figures[f"{what}, p50 ms"], figures[f"{what}, p99 ms"] = load.p50_ms, load.p99_ms
        figures["streaming, images/s"] = streamed = bench.stream(port, STREAMED)
        figures["streaming, of raw"] = streamed / raw
        capacity = figures["1 per call, 64 in flight, images/s"]
        figures["1 per call, 64 in flight, of the grpc.aio echo"] = capacity / echo
        for share in OPEN:
            load = bench.open_loop(port, share * capacity, seconds=4)
            what = f"open loop at {share:.0%} of capacity"
            figures[f"{what}, answered of capacity"] = load.calls_per_second / capacity
            figures[f"{what}, p50 ms"], figures[f"{what}, p99 ms"] = load.p50_ms, load.p99_ms
        check(running)
    return {f"{graph}: {name}": value for name, value in figures.items()}


def memory(images: int) -> Figures:
    """Measure resident memory before and after many predictions."""
    with bench.server() as running:
        bench.closed_loop(running.grpc_port, 64, inflight=8, calls=100)
        before = bench.resident_mb(running.process)
        bench.closed_loop(running.grpc_port, 256, inflight=8, calls=images // 256)
        after = bench.resident_mb(running.process)
        check(running)
    return {"resident before, MB": before, f"resident after {images:,} predictions, MB": after}


def two_workers() -> Figures:
    """Measure a second worker on a second core; the load shares the cores in both cases."""
    rates = {}
    for count in (1, 2):
        with bench.server("--workers", count, cores=tuple(bench.CORES)) as running:
            # The kernel spreads connections over workers; enough for an even share.
            load = bench.closed_loop(
                running.grpc_port, 64, inflight=1, calls=1600, connections=32, cores=bench.CORES
            )
            rates[count] = load.calls_per_second
    return {"2 workers, of 1": rates[2] / rates[1]}


def check(running: RunningServer) -> None:
    """Raise RuntimeError for unexpected statuses; a load that ends cancels its last calls."""
    fine = ("OK", "RESOURCE_EXHAUSTED", "CANCELLED")
    wrong = {code: running.metric("digits_requests_total", code=code) for code in CODES if code not in fine}
    if any(wrong.values()):
        raise RuntimeError(f"calls failed: {wrong}")


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
