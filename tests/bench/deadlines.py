"""Single images with deadlines, below and above the capacity of one core: `python -m tests.bench.deadlines`.

Measures the capacity in a closed loop, then offers shares of it in open loops, each several times, and prints
the worst and the median share of the calls that were answered in time. The model is `accurate`, for which the
load generator needs less than the server. Where the generator was the limit, in time is a lower bound.
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
    for name in ("share offered", "calls/s offered", "in time, worst", "median", "of", "limited runs"):
        table.add_column(name, justify="right")
    with bench.server("--default-model", "accurate") as running:
        inflight = max(IN_FLIGHT // connections, 1)
        capacity = median(
            bench.closed_loop(
                running.grpc_port, 1, inflight=inflight, calls=6_000, connections=connections
            ).calls_per_second
            for _ in range(3)
        )
        for share in SHARES:
            rate = share * capacity
            loads = [
                bench.open_loop(
                    running.address,
                    rate,
                    seconds=seconds,
                    connections=connections,
                    timeout_seconds=deadline_ms / 1e3,
                )
                for _ in range(runs)
            ]
            in_time = sorted(load.calls_per_second / min(rate, capacity) for load in loads)
            table.add_row(
                *(f"{share:g}", f"{rate:,.0f}", f"{in_time[0]:.2f}", f"{median(in_time):.2f}"),
                *("offered" if share <= 1 else "capacity", str(sum(bool(load.limit) for load in loads))),
            )
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
