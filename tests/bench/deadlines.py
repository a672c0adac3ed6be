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

Positive = Annotated[int, Parameter(validator=Number(gt=0))]

app = App(help=__doc__)
console = Console()


@app.default
def main(
    *, deadline_ms: Positive = 50, connections: Positive = 8, runs: Positive = 20, seconds: Positive = 3
) -> int:
    """Offer every share `runs` times for `seconds`, with the default settings of the server."""
    table = Table(title=f"Deadlines of {deadline_ms} ms, {connections} connections, {runs} runs each")
    for name in ("share offered", "calls/s offered", "in time, worst", "median", "of"):
        table.add_column(name, justify="right")
    with bench.server() as running:
        per_connection = max(64 // connections, 1)
        closed = [
            bench.closed_loop(
                running.grpc_port, 1, inflight=per_connection, calls=20_000, connections=connections
            ).calls_per_second
            for _ in range(3)
        ]
        capacity = median(closed)
        for share in SHARES:
            rate = share * capacity
            loads = [
                bench.offered(
                    running, rate, seconds=seconds, connections=connections, deadline_ms=deadline_ms
                )
                for _ in range(runs)
            ]
            # Under overload, what matters is how much of the capacity is of use.
            most = min(rate, capacity) * seconds
            of = "offered" if share <= 1 else "capacity"
            shares = sorted(load.in_time / most for load in loads)
            table.add_row(f"{share:g}", f"{rate:,.0f}", f"{shares[0]:.2f}", f"{median(shares):.2f}", of)
    console.print(table)
    return 0


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
