"""Runs at several loads: capacity search, and sweep over calls in flight."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

from clients.load.run import Result
from clients.load.workload import Workload

_FIRST_RATE = 50.0
_CLOSE_ENOUGH = 1.05
_MOST_RATE = 100_000.0


@dataclass(frozen=True, slots=True)
class Trial:
    """A run at one rate; `verdict` is ok or the reason of failure."""

    rate: float
    result: Result
    verdict: str


@dataclass(frozen=True, slots=True)
class Capacity:
    """The result of a search: the best trial, and how the generator limited the search, if it did."""

    best: Trial | None
    limit: str


def find_capacity(
    workload: Workload, p99_ms: float, run: Callable[[Workload], Result], watch: Callable[[Trial], None]
) -> Capacity:
    """Search for the highest rate, in calls per second, with a p99 within `p99_ms` and without failures.

    `run` runs a workload, `watch` receives every trial. Doubles the rate until the objective is missed, then
    halves the difference until it is below 5 %.
    """
    best: Trial | None = None
    missed: Trial | None = None
    rate = workload.rate or _FIRST_RATE
    while rate <= _MOST_RATE:
        result = run(replace(workload, rate=rate, end_rate=None))
        trial = Trial(rate, result, _verdict(result, p99_ms))
        watch(trial)
        if trial.verdict == "ok":
            best = trial
        else:
            missed = trial
        if missed is None:
            rate *= 2
        elif best is None:
            if rate < 1:
                break
            rate /= 4
        elif missed.rate / best.rate < _CLOSE_ENOUGH:
            break
        else:
            rate = (best.rate * missed.rate) ** 0.5
    return Capacity(best, missed.result.limit if missed else "the search ends at 100,000 calls/s")


def sweep(workload: Workload, first: int, run: Callable[[Workload], Result]) -> Iterator[Result]:
    """Run a closed loop with `first`, twice as many, ... up to the workload's calls in flight."""
    in_flight = first
    while in_flight < workload.in_flight:
        yield run(replace(workload, in_flight=in_flight))
        in_flight *= 2
    yield run(workload)


def _verdict(result: Result, p99_ms: float) -> str:
    p99 = result.tally.latency_ms(99)
    if result.limit:
        return result.limit
    if failed := result.tally.failed:
        return ", ".join(f"{count:,} {reason}" for reason, count in failed.most_common())
    return f"p99 {p99:.1f} ms" if p99 > p99_ms else "ok"
