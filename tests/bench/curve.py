"""Latency and answers in time against load on one core, for sizing: `python -m tests.bench.curve`.

Measures the capacity in closed loops, then shares of it in open loops, each several times. Latency counts
from when a call was due. `--deadline-ms 50 --runs 20` shows what deadlines do around the capacity.
"""

import sys
from statistics import median

from cyclopts import App

from tests.bench import processes as bench
from tests.bench import results
from tests.bench.results import Count, Seconds

SHARES = (0.2, 0.4, 0.6, 0.7, 0.8, 0.9, 1.0, 1.5)
# Images per call, and calls in flight and calls of the closed loops.
CALLS = {1: (64, 10_000), 16: (16, 3000), 64: (8, 1000)}
HEADINGS = (
    *("images per call, share", "calls/s due", "images/s", "in time, worst", "median", "p50 ms", "p99 ms"),
    "sent late, p99 ms",
)

app = App(help=__doc__)


@app.default
def main(
    *, seconds: Seconds = 5.0, runs: Count = 3, connections: Count = 8, deadline_ms: Count = 10_000
) -> int:
    """Measure every share `runs` times for `seconds`; "in time" is of the load offered or the capacity."""
    rows = []
    with bench.server() as running:
        port = running.grpc_port
        for images, (inflight, calls) in CALLS.items():
            each = max(inflight // connections, 1)
            closed = [
                bench.closed_loop(port, images, inflight=each, calls=calls, connections=connections)
                for _ in range(3)
            ]
            capacity = median(load.calls_per_second for load in closed)
            for share in SHARES:
                results.progress(f"{images} images per call, {share:.0%} of {capacity:,.0f} calls/s")
                loads = [
                    bench.open_loop(
                        *(port, share * capacity),
                        seconds=seconds,
                        images_per_call=images,
                        connections=connections,
                        timeout_ms=deadline_ms,
                    )
                    for _ in range(runs)
                ]
                rows.append((f"{images}, {share:.0%}", *_figures(loads, images, share * capacity, capacity)))
    results.show(f"One core, deadlines of {deadline_ms:,} ms, {runs} runs each", HEADINGS, rows)
    return 0


def _figures(loads: list[bench.Load], images: int, rate: float, capacity: float) -> list[str]:
    in_time = sorted(load.calls_per_second / min(rate, capacity) for load in loads)
    answered = median(load.calls_per_second for load in loads)
    return [
        *(f"{rate:,.0f}", f"{answered * images:,.0f}", f"{in_time[0]:.2f}", f"{median(in_time):.2f}"),
        *(f"{median(load.p50_ms for load in loads):,.1f}", f"{median(load.p99_ms for load in loads):,.1f}"),
        f"{max(load.late_ms for load in loads):.1f}",
    ]


if __name__ == "__main__":
    sys.exit(app(result_action="return_value"))
