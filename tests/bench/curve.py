"""Latency against load on one core, for sizing: `python -m tests.bench.curve`.

Measures the capacity in a closed loop, then latencies in open loops at shares of it, counted from when a call
was due. Prints a table, writes JSON and a plot.
"""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated

import matplotlib as mpl
from cyclopts import App, Parameter
from cyclopts.validators import Number
from matplotlib import pyplot as plt
from rich.console import Console
from rich.table import Table

from tests.bench import processes as bench
from tests.bench.run import RESULTS

SHARES = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
# Images per call, and calls in flight of the closed loop.
CALLS = {1: (64, 15_000), 16: (16, 4000), 64: (8, 1000)}

app = App(help=__doc__)
console = Console()


@dataclass(frozen=True, slots=True)
class Point:
    """One load and its latencies in milliseconds."""

    images_per_call: int
    share: float  # share of the capacity
    due_calls_per_second: float
    calls_per_second: float
    p50_ms: float
    p99_ms: float
    refused: int


@app.default
def main(*, seconds: Annotated[float, Parameter(validator=Number(gt=0))] = 5.0) -> int:
    """Measure every point for `seconds`."""
    points = []
    with bench.server() as running:
        for images, (inflight, calls) in CALLS.items():
            closed = bench.closed_loop(running.grpc_port, images, inflight=inflight, calls=calls)
            for share in SHARES:
                rate = share * closed.calls_per_second
                load = bench.open_loop(running.grpc_port, rate, seconds=seconds, images_per_call=images)
                points.append(
                    Point(images, share, rate, load.calls_per_second, load.p50_ms, load.p99_ms, load.refused)
                )
                console.print(f"{images} images a call, {share:.0%}: p99 {load.p99_ms:.1f} ms", style="dim")
    show(points)
    RESULTS.mkdir(parents=True, exist_ok=True)
    (RESULTS / "curve.json").write_text(json.dumps([asdict(point) for point in points], indent=1) + "\n")
    plot(points)
    console.print(f"written to {RESULTS}/curve.json and curve.svg")
    return 0


def show(points: Sequence[Point]) -> None:
    """Print the points; fewer answered than due calls mean that server or generator did not keep up."""
    table = Table(title="One core for the server, open loop")
    for name in (
        "images a call",
        "share",
        "calls/s due",
        "answered",
        "images/s",
        "p50 ms",
        "p99 ms",
        "refused",
    ):
        table.add_column(name, justify="right")
    for point in points:
        table.add_row(
            *(str(point.images_per_call), f"{point.share:.0%}", f"{point.due_calls_per_second:,.0f}"),
            *(f"{point.calls_per_second:,.0f}", f"{point.calls_per_second * point.images_per_call:,.0f}"),
            *(f"{point.p50_ms:,.1f}", f"{point.p99_ms:,.1f}", f"{point.refused:,}"),
        )
    console.print(table)


def plot(points: Sequence[Point]) -> None:
    """Plot p50 and p99 over images per second, with a colour for each size of call."""
    mpl.use("agg")
    figure, axes = plt.subplots(figsize=(7, 4), layout="constrained")
    for images, colour in zip(CALLS, ("#2a6f97", "#c1666b", "#6a994e"), strict=True):
        mine = [point for point in points if point.images_per_call == images]
        rates = [point.due_calls_per_second * images for point in mine]
        label = f"{images} image{'s' * (images > 1)} a call"
        axes.plot(rates, [point.p99_ms for point in mine], color=colour, label=f"{label}, p99")
        axes.plot(rates, [point.p50_ms for point in mine], color=colour, linestyle=":", label="p50")
    axes.set(xlabel="images a second that are due", ylabel="milliseconds", yscale="log")
    axes.spines[["top", "right"]].set_visible(False)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter("{x:,.0f}")
    figure.legend(frameon=False, ncols=3, loc="outside upper center")
    plt.savefig(RESULTS / "curve.svg")


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
