"""Single images with deadlines, below and above the capacity of one core: `python -m tests.bench.deadlines`.

Measures the capacity in a closed loop, then offers shares of it in open loops, each several times, and prints
the worst and the median share of the calls that were answered in time.
"""

import sys
from statistics import median
from typing import Annotated

from cyclopts import App, Parameter
from cyclopts.validators import Number
from rich.console import Console
from rich.table import Table

from tests.bench import processes as bench

SHARES = (0.8, 1.0, 1.5)
IN_FLIGHT = 64

Positive = Annotated[int, Parameter(validator=Number(gt=0))]

app = App(help=__doc__)
console = Console()


@app.default
def main(
    *, deadline_ms: Positive = 50, connections: Positive = 8, runs: Positive = 20, seconds: Positive = 3
) -> int:
    """Offer every share `runs` times for `seconds`, with the default settings of the server."""
    table = Table(title=f"Deadlines of {deadline_ms} ms, {connections} connections, {runs} runs each")
    for name in ("share offered", "calls/s offered", "in time, worst", "median", "of", "sent late, p99 ms"):
        table.add_column(name, justify="right")
    with bench.server() as running:
        port, inflight = running.grpc_port, max(IN_FLIGHT // connections, 1)
        closed = [
            bench.closed_loop(port, 1, inflight=inflight, calls=10_000, connections=connections)
            for _ in range(3)
        ]
        capacity = median(load.calls_per_second for load in closed)
        for share in SHARES:
            rate = share * capacity
            loads = [
                bench.open_loop(port, rate, seconds=seconds, connections=connections, timeout_ms=deadline_ms)
                for _ in range(runs)
            ]
            in_time = sorted(load.calls_per_second / min(rate, capacity) for load in loads)
            table.add_row(
                *(f"{share:g}", f"{rate:,.0f}", f"{in_time[0]:.2f}", f"{median(in_time):.2f}"),
                *("offered" if share <= 1 else "capacity", f"{max(load.late_ms for load in loads):.1f}"),
            )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
