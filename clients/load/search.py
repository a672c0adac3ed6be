"""Runs at several loads: capacity search, and sweep over calls in flight."""

from collections.abc import Callable, Iterator
from dataclasses import replace

from clients.load.run import Result
from clients.load.workload import Workload

_FIRST_RATE = 50.0
_CLOSE_ENOUGH = 1.05
MOST_RATE = 100_000.0  # calls per second


def find_capacity(workload: Workload, p99_ms: float, run: Callable[[Workload], Result]) -> Iterator[Result]:
    """Search for the highest rate with a p99 within `p99_ms` and without failures, and yield each run.

    Doubles the rate until the objective is missed, then halves the difference until it is below 5 %. The last
    run whose verdict is ok has the capacity; the last one that missed the objective tells what limits it.
    """
    best: float | None = None
    missed: float | None = None
    rate = workload.rate or _FIRST_RATE
    while rate <= MOST_RATE:
        result = run(replace(workload, rate=rate, end_rate=None))
        yield result
        if verdict(result, p99_ms) == "ok":
            best = rate
        else:
            missed = rate
        if missed is None:
            rate *= 2
        elif best is None:
            if rate < 1:
                return
            rate /= 4
        elif missed / best < _CLOSE_ENOUGH:
            return
        else:
            rate = (best * missed) ** 0.5


def sweep(workload: Workload, first: int, run: Callable[[Workload], Result]) -> Iterator[Result]:
    """Run a closed loop with `first`, twice as many, ... up to the workload's calls in flight."""
    in_flight = first
    while in_flight < workload.in_flight:
        yield run(replace(workload, in_flight=in_flight))
        in_flight *= 2
    yield run(workload)


def verdict(result: Result, p99_ms: float) -> str:
    """Return ok, or why a run misses the objective."""
    p99 = result.tally.latency_ms(99)
    if result.limit:
        return result.limit
    if failed := result.tally.failed:
        return ", ".join(f"{count:,} {reason}" for reason, count in failed.most_common())
    return f"p99 {p99:.1f} ms" if p99 > p99_ms else "ok"
