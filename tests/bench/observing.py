"""What observing costs: the server as it is against one without metrics, log of calls and history.

`make bench-observing`.

Both run all the time on one core; the load goes to one and then to the other, so that a machine whose speed
drifts does not decide. CPU time a call is what counts: on a busy core it is what throughput is made of, and other
programs disturb it least.
"""

import statistics
import sys
from pathlib import Path

from cyclopts import App
from rich.console import Console
from rich.table import Table

from tests.bench import processes as bench
from tests.process import RunningServer

app = App(help=__doc__)
console = Console()


@app.default
def main(*, rounds: int = 12, calls: int = 10_000) -> int:
    """Measure `rounds` times `calls` single images, 64 in flight, on each; print medians and the cost."""
    rates: dict[str, list[float]] = {"observed": [], "not observed": []}
    costs: dict[str, list[float]] = {"observed": [], "not observed": []}
    with bench.server() as observed, bench.server(kind=bench.BlindServer) as bare:
        servers = {"observed": observed, "not observed": bare}
        for server in servers.values():
            bench.closed_loop(server.grpc_port, 1, inflight=64, calls=calls)
        for number in range(rounds):
            for name in sorted(servers, reverse=bool(number % 2)):
                before = cpu_seconds(servers[name])
                load = bench.closed_loop(servers[name].grpc_port, 1, inflight=64, calls=calls)
                rates[name].append(load.calls_per_second)
                costs[name].append((cpu_seconds(servers[name]) - before) / calls * 1e6)
        counted = observed.metric("digits_requests_total", code="OK")
    if counted != calls * (rounds + 1):
        raise RuntimeError(f"{counted:.0f} calls were counted, expected {calls * (rounds + 1)}")
    table = Table(title="64 single images in flight, medians")
    for heading in ("", "CPU us a call", "calls/s"):
        table.add_column(heading, justify="right" if heading else "left")
    for name in servers:
        table.add_row(name, f"{statistics.median(costs[name]):.1f}", f"{statistics.median(rates[name]):,.0f}")
    console.print(table)
    ratios = [on / off - 1 for on, off in zip(costs["observed"], costs["not observed"], strict=True)]
    low, middle, high = statistics.quantiles(ratios, n=4)
    console.print(
        f"observing costs {middle:.1%} of the CPU time of a call (quartiles {low:.1%} to {high:.1%})"
    )
    return 0


def cpu_seconds(server: RunningServer) -> float:
    """Return the CPU time that a server's threads have used, to the nanosecond."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
