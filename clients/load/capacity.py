"""The highest rate at which a server keeps its promise."""

from collections.abc import Callable
from dataclasses import dataclass, replace

from clients.load.plan import Plan
from clients.load.run import Result

_FIRST_RATE = 50.0
_CLOSE_ENOUGH = 1.05
_MOST_RATE = 100_000.0


@dataclass(frozen=True, slots=True)
class Trial:
    """Hold one try at a rate; `verdict` is ok, or why not."""

    rate: float
    result: Result
    verdict: str

    @property
    def ok(self) -> bool:
        """Whether the server kept its promise."""
        return self.verdict == "ok"


def find_capacity(
    plan: Plan, p99_ms: float, run: Callable[[Plan], Result], watch: Callable[[Trial], None]
) -> Trial | None:
    """Search for the highest rate, calls a second, whose p99 stays within `p99_ms` without failures.

    `run` tries a plan, `watch` is told of every trial.

    Doubles the rate until the promise breaks, then halves the difference until it is below 5 %.
    Returns the best trial that kept it, None where not even the lowest rate did.
    """
    best: Trial | None = None
    broken: float | None = None
    rate = plan.rate or _FIRST_RATE
    while rate <= _MOST_RATE:
        trial = _judged(run(replace(plan, rate=rate, end_rate=None)), rate, p99_ms)
        watch(trial)
        if trial.ok:
            best = trial
        else:
            broken = rate
        if broken is None:
            rate *= 2
        elif best is None:
            if rate < 1:
                break
            rate /= 4
        elif broken / best.rate < _CLOSE_ENOUGH:
            break
        else:
            rate = (best.rate * broken) ** 0.5
    return best


def _judged(result: Result, rate: float, p99_ms: float) -> Trial:
    p99 = result.tally.latency_ms(99)
    if failed := result.tally.failed:
        verdict = ", ".join(f"{count:,} {reason}" for reason, count in failed.most_common())
    elif not result.kept_up:
        verdict = f"the generator was {result.late_ms:.0f} ms late"
    elif p99 > p99_ms:
        verdict = f"p99 {p99:.1f} ms"
    else:
        verdict = "ok"
    return Trial(rate, result, verdict)
