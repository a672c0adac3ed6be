"""Cost of metrics, access log and history, against a server without them:

`python -m tests.bench.observing`.

Both servers share one core and are measured in turn, so that a drifting machine affects both. The measure is
CPU time per call, which determines the throughput of a busy core; median and minimum show the noise.
"""

import statistics
import sys
from pathlib import Path

from cyclopts import App

from tests.bench import processes as bench
from tests.bench import results
from tests.bench.blind import BlindServer
from tests.process import RunningServer

app = App(help=__doc__)


@app.default
def main(*, rounds: int = 30, calls: int = 4000) -> int:
    """Measure `rounds` times `calls` single images, 64 in flight, on each; print minimum, median and cost."""
    rates: dict[str, list[float]] = {"observed": [], "not observed": []}
    costs: dict[str, list[float]] = {"observed": [], "not observed": []}
    with bench.server() as observed, bench.server(kind=BlindServer) as bare:
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
    rows = []
    for name in servers:
        least, median = min(costs[name]), statistics.median(costs[name])
        rows.append((name, f"{least:.1f}", f"{median:.1f}", f"{max(rates[name]):,.0f}"))
    headings = ("", "least CPU us a call", "median CPU us a call", "most calls/s")
    results.show(f"64 single images in flight, {rounds} rounds", headings, rows)
    for name, figure in (("medians", statistics.median), ("the least of each", min)):
        print(
            f"observing costs {figure(costs['observed']) / figure(costs['not observed']) - 1:+.1%} by {name}"
        )
    return 0


def cpu_seconds(server: RunningServer) -> float:
    """Return the CPU time of a server's threads, in seconds."""
    tasks = Path(f"/proc/{server.process.pid}/task").glob("*/schedstat")
    return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
