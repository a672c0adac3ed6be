"""The server compared with raw ONNX Runtime and bare echo servers, on one core: `make bench`.

Ratios are of the float graph; the 8-bit graph has rows of its own. Rounds alternate between the compared
programs, so that a drifting machine affects all of them; the table has medians. Ratios carry over to other
machines, absolute figures do not. Fails if a call failed.
"""

import json
import statistics
import sys
from pathlib import Path
from typing import Annotated

import matplotlib as mpl
from cyclopts import App, Parameter
from cyclopts.validators import Number
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from server.observability.table import CODES
from tests.bench import processes as bench
from tests.process import RunningServer
from tests.shipped import SHIPPED_DIGITS

RESULTS = Path("build/bench")
BATCHES = (1, 8, 16, 32, 64, 128)
# For ratios: the same graph on both sides.
FLOAT = ("--precision", "float32")
INTEGERS = ", 8-bit graph"
Figures = dict[str, float]

app = App(help=__doc__)
console = Console()


@app.default
def main(
    *, rounds: Annotated[int, Parameter(validator=Number(gte=1))] = 3, soak_images: int = 500_000
) -> int:
    """Measure `rounds` times, print a table, write JSON and a plot."""
    measured = []
    for number in range(1, rounds + 1):
        console.print(f"round {number} of {rounds}", style="dim")
        measured.append(one_round())
    figures = {name: statistics.median(each[name] for each in measured) for name in measured[0]}
    console.print("memory and two workers", style="dim")
    figures |= memory(soak_images) | two_workers()
    show(figures)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "results.json").write_text(
        json.dumps({"rounds": measured, "medians": figures}, indent=2) + "\n"
    )
    plot(figures, RESULTS / "results.svg")
    console.print(f"written to {RESULTS}/results.json and results.svg")
    return 0


def one_round() -> Figures:
    """Measure everything once."""
    figures, best = raw(SHIPPED_DIGITS / "model.onnx", "")
    with bench.echo() as port:
        figures["echo, 1 image, 64 in flight, calls/s"] = echo = bench.closed_loop(
            port, 1, inflight=64, calls=15_000
        ).calls_per_second
        figures["echo, 1 image, 1 in flight, p50 ms"] = bench.closed_loop(
            port, 1, inflight=1, calls=2000
        ).p50_ms
        figures["echo, streaming, messages/s"] = streamed = bench.stream(port, 20_000)
    with bench.echo("tests.bench.cq_echo") as port:
        what = "completion queue echo"
        for inflight, calls in ((64, 30_000), (1, 3000)):
            load = bench.closed_loop(port, 1, inflight=inflight, calls=calls)
            figures[f"{what}, 1 image, {inflight} in flight, calls/s"] = load.calls_per_second
        figures[f"{what}, 1 image, 1 in flight, p50 ms"] = load.p50_ms
        figures[f"{what}, streaming, messages/s"] = bench.stream(port, 20_000)
    with bench.server(*FLOAT) as running:
        figures["start to ready, s"] = running.start_seconds
        figures |= ours(running, best, echo, streamed)
        check(running)
    figures |= integers(echo)
    with bench.server(*FLOAT, kind=bench.BlindServer) as bare:
        figures["without metrics, 1 image, 64 in flight, calls/s"] = bench.closed_loop(
            bare.grpc_port, 1, inflight=64, calls=10_000
        ).calls_per_second
    return figures


def raw(model: Path, suffix: str) -> tuple[Figures, float]:
    """Measure ONNX Runtime alone at several batch sizes; return the figures and the best of them."""
    figures = {
        f"raw ONNX Runtime, batch {size}{suffix}, images/s": bench.raw_images_per_second(model, size)
        for size in BATCHES
    }
    best = max(figures.values())
    figures[f"raw ONNX Runtime, best batch{suffix}, images/s"] = best
    return figures, best


def integers(echo: float) -> Figures:
    """Measure the 8-bit graph."""
    figures, best = raw(SHIPPED_DIGITS / "model.int8.onnx", INTEGERS)
    with bench.server() as running:
        for images, inflight, calls in ((1, 64, 15_000), (64, 8, 1200), (256, 8, 300)):
            load = bench.closed_loop(running.grpc_port, images, inflight=inflight, calls=calls)
            what = f"{images} image{'s' if images > 1 else ''}, {inflight} in flight{INTEGERS}"
            figures[f"{what}, images/s"] = load.calls_per_second * images
        figures[f"streaming{INTEGERS}, images/s"] = bench.stream(running.grpc_port, 20_000)
        check(running)
    for images in (64, 256):
        figures[f"ratio: {images} images, 8 in flight{INTEGERS}, of raw"] = (
            figures[f"{images} images, 8 in flight{INTEGERS}, images/s"] / best
        )
    figures[f"ratio: 1 image, 64 in flight{INTEGERS}, of the echo"] = (
        figures[f"1 image, 64 in flight{INTEGERS}, images/s"] / echo
    )
    figures[f"ratio: streaming{INTEGERS}, of raw"] = figures[f"streaming{INTEGERS}, images/s"] / best
    return figures


def ours(running: RunningServer, best: float, echo: float, streamed: float) -> Figures:
    """Measure the server in a closed loop, on a stream, and in an open loop."""
    port, figures = running.grpc_port, {}
    for images, inflight, calls in (
        (1, 1, 2000),
        (1, 64, 15_000),
        (8, 64, 4000),
        (64, 8, 800),
        (256, 8, 200),
    ):
        load = bench.closed_loop(port, images, inflight=inflight, calls=calls)
        what = f"{images} image{'s' if images > 1 else ''}, {inflight} in flight"
        figures[f"{what}, images/s"] = load.calls_per_second * images
        figures[f"{what}, p50 ms"], figures[f"{what}, p99 ms"] = load.p50_ms, load.p99_ms
    figures["streaming, images/s"] = stream = bench.stream(port, 20_000)
    capacity = figures["1 image, 64 in flight, images/s"]
    for share in (0.5, 0.8, 2.0):
        load = bench.open_loop(port, share * capacity, seconds=4)
        what = f"open loop at {share:.0%} of capacity"
        figures[f"{what}, answered calls/s"] = load.calls_per_second
        figures[f"{what}, p50 ms"], figures[f"{what}, p90 ms"] = load.p50_ms, load.p90_ms
        figures[f"{what}, p99 ms"], figures[f"{what}, p99.9 ms"] = load.p99_ms, load.p999_ms
        figures[f"{what}, refused calls"] = load.refused
    figures["ratio: answered at 200% of capacity, of capacity"] = (
        figures["open loop at 200% of capacity, answered calls/s"] / capacity
    )
    figures["ratio: 1 image, 64 in flight, of the echo"] = capacity / echo
    figures["ratio: streaming, of the echo"] = stream / streamed
    for images in (64, 256):
        figures[f"ratio: {images} images, 8 in flight, of raw"] = (
            figures[f"{images} images, 8 in flight, images/s"] / best
        )
    return figures


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
    return {"ratio: 2 workers, of 1": rates[2] / rates[1]}


def check(running: RunningServer) -> None:
    """Raise RuntimeError for unexpected statuses; a load that ends cancels its last calls."""
    fine = ("OK", "RESOURCE_EXHAUSTED", "CANCELLED")
    wrong = {code: running.metric("digits_requests_total", code=code) for code in CODES if code not in fine}
    if any(wrong.values()):
        raise RuntimeError(f"calls failed: {wrong}")


def show(figures: Figures) -> None:
    """Print the figures."""
    table = Table(title="One core for the server, medians")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in figures.items():
        table.add_row(name, f"{value:,.2f}" if value < 1000 else f"{value:,.0f}")
    console.print(table)


def plot(figures: Figures, path: Path) -> None:
    """Plot all throughputs as bars."""
    mpl.use("agg")
    rates = {name: value for name, value in figures.items() if name.endswith("/s")}
    figure, axes = plt.subplots(figsize=(9, 0.32 * len(rates) + 1), layout="constrained")
    ours_colour, other_colour = "#2a6f97", "#b0b7bd"
    colours = [other_colour if name.startswith(("raw", "echo")) else ours_colour for name in rates]
    bars = axes.barh(list(rates), list(rates.values()), color=colours)
    axes.bar_label(bars, fmt="{:,.0f}", padding=3)
    axes.margins(y=0.01)
    axes.invert_yaxis()
    axes.spines[["top", "right", "bottom"]].set_visible(False)
    axes.set_xticks([])
    figure.suptitle("Throughput on one core: our server, and what it is made of (grey)")
    plt.savefig(path)


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
