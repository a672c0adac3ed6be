"""Put load on a server from several processes, and add up what they saw."""

import multiprocessing
from collections.abc import Callable
from dataclasses import asdict, dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any, cast

from clients.client import Client
from clients.errors import DigitsError
from clients.load.plan import Plan
from clients.load.record import Snapshot, Tally
from clients.load.worker import work

PERCENTILES = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
# A generator whose calls leave later than this is no longer the load that was asked for.
_LATE_MS = 10.0


@dataclass(frozen=True, slots=True)
class Second:
    """Hold what one second looked like; milliseconds."""

    second: int
    calls: int
    failed: int
    p50_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Result:
    """Hold what a run saw; `seconds` is from the end of the warm-up to the last answer."""

    plan: Plan
    tally: Tally
    seconds: float
    timeline: tuple[Second, ...]

    @property
    def calls_per_second(self) -> float:
        """Answered calls a second."""
        return self.tally.ok / self.seconds

    @property
    def images_per_second(self) -> float:
        """Answered images a second."""
        return self.calls_per_second * self.plan.images_per_call

    @property
    def late_ms(self) -> float:
        """How late 99 % of the calls were sent at most: above 10 ms the generator did not keep up."""
        return float(self.tally.lateness.get_value_at_percentile(99.0)) / 1e3

    @property
    def kept_up(self) -> bool:
        """Whether the generator sent calls when they were due."""
        return self.late_ms <= _LATE_MS and not self.tally.failed["NOT_SENT"]

    def record(self) -> dict[str, Any]:
        """Make what `--json` writes, and `compare` reads."""
        plan = asdict(self.plan)
        plan["address"] = plan.pop("connection")["address"]
        return {
            "plan": plan,
            "seconds": self.seconds,
            "ok": self.tally.ok,
            "failed": dict(self.tally.failed),
            "calls_per_second": self.calls_per_second,
            "images_per_second": self.images_per_second,
            "latency_ms": {f"p{p:g}": self.tally.latency_ms(p) for p in PERCENTILES}
            | {
                "mean": float(self.tally.latency.get_mean_value()) / 1e3,
                "max": float(self.tally.latency.get_max_value()) / 1e3,
            },
            "sent_late_ms_p99": self.late_ms,
            "kept_up": self.kept_up,
            "histogram": self.tally.latency.encode().decode("ascii"),
            "timeline": [asdict(second) for second in self.timeline],
        }


def run(plan: Plan, watch: Callable[[Second, Tally], None] | None = None) -> Result:
    """Run a plan to its end; `watch` is told of every second.

    Raises ServerError where the server does not answer a first call.
    """
    with Client(plan.connection) as client:
        client.predict(plan.images(), model=plan.model)
    # gRPC does not survive a fork.
    context = multiprocessing.get_context("spawn")
    pipes: list[Pipe] = []
    processes = []
    try:
        for number in range(plan.processes):
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(plan.share(number), theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            _receive(pipe)
        for pipe in pipes:
            pipe.send("go")
        return _gather(plan, pipes, watch)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _gather(plan: Plan, pipes: list[Pipe], watch: Callable[[Second, Tally], None] | None) -> Result:
    total = Tally()
    timeline: list[Second] = []
    pending: list[Snapshot] = []
    ended_seconds = plan.seconds
    open_pipes = list(pipes)
    while open_pipes:
        for ready in wait(open_pipes):
            pipe = cast("Pipe", ready)
            message = _receive(pipe)
            if isinstance(message, Snapshot):
                pending.append(message)
            else:  # the last word: when the last answer came
                ended_seconds = max(ended_seconds, message)
                open_pipes.remove(pipe)
        if pending and len(pending) >= len(open_pipes):
            tally = Tally()
            for snapshot in pending:
                tally.add(snapshot)
                total.add(snapshot)
            pending.clear()
            second = Second(
                len(timeline) + 1, tally.ok, tally.failed.total(), tally.latency_ms(50), tally.latency_ms(99)
            )
            timeline.append(second)
            if watch:
                watch(second, total)
    return Result(plan, total, ended_seconds - plan.warmup_seconds, tuple(timeline))


def _receive(pipe: Pipe) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise DigitsError("a process of the load generator died") from None
