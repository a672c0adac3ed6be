"""Runs of a workload on several processes."""

import multiprocessing
from collections.abc import Callable
from dataclasses import dataclass
from multiprocessing.connection import Connection as Pipe
from multiprocessing.connection import wait
from typing import Any, cast

from clients.client import Client
from clients.errors import DigitsError
from clients.load.latency import Snapshot, Tally
from clients.load.worker import work
from clients.load.workload import Workload

PERCENTILES = (50.0, 75.0, 90.0, 99.0, 99.9, 99.99)
_LATE_MS = 10.0  # beyond this lateness the workload is not the requested one
_BUSY = 0.95  # share of a CPU: Python runs one thread at a time


@dataclass(frozen=True, slots=True)
class Result:
    """A run: `seconds` from the end of the warm-up to the last answer, `busy` the CPU share of a process."""

    workload: Workload
    tally: Tally
    seconds: float
    busy: float = 0.0

    @property
    def calls_per_second(self) -> float:
        """Answered calls a second."""
        return self.tally.ok / self.seconds

    @property
    def images_per_second(self) -> float:
        """Answered images a second."""
        return self.calls_per_second * self.workload.images_per_call

    @property
    def limit(self) -> str:
        """Return how the generator limited the run; empty if it did not."""
        late = self.tally.late_ms(99)
        if unsent := self.tally.failed["NOT_SENT"]:
            return f"the generator could not send {unsent:,} calls"
        if late > _LATE_MS:
            return f"the generator was {late:.0f} ms late"
        if self.workload.rate is None and self.busy > _BUSY:
            return f"the generator used {self.busy:.0%} of a CPU"
        return ""

    def record(self) -> dict[str, Any]:
        """Return the contents of a --json file."""
        tally = self.tally
        server = {f"p{p:g}": tally.server_ms(p) for p in (50.0, 99.0)}
        return {
            "workload": self.workload.record(),
            "seconds": self.seconds,
            "ok": tally.ok,
            "failed": dict(tally.failed),
            "calls_per_second": self.calls_per_second,
            "images_per_second": self.images_per_second,
            "latency_ms": {f"p{p:g}": tally.latency_ms(p) for p in PERCENTILES}
            | {"mean": tally.latency.get_mean_value() / 1e3, "max": tally.latency.get_max_value() / 1e3},
            "server_queue_ms": {name: times[0] for name, times in server.items() if times},
            "server_compute_ms": {name: times[1] for name, times in server.items() if times},
            "sent_late_ms_p99": tally.late_ms(99),
            "limited_by_generator": self.limit,
            "histogram": tally.latency.encode().decode("ascii"),
        }


def run(workload: Workload, watch: Callable[[Tally], None] | None = None) -> Result:
    """Run a workload to its end; `watch` receives the sum so far about every second.

    Raises ServerError if the server does not answer a first call.
    """
    with Client(workload.connection) as client:
        client.predict(workload.images(), model=workload.model)
    # gRPC does not support fork.
    context = multiprocessing.get_context("spawn")
    pipes: list[Pipe] = []
    processes = []
    try:
        for share in workload.shares():
            ours, theirs = context.Pipe()
            process = context.Process(target=work, args=(share, theirs), daemon=True)
            process.start()
            theirs.close()
            pipes.append(ours)
            processes.append(process)
        for pipe in pipes:
            _receive(pipe)
        for pipe in pipes:
            pipe.send("go")
        return _gather(workload, pipes, watch)
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _gather(workload: Workload, pipes: list[Pipe], watch: Callable[[Tally], None] | None) -> Result:
    total, busy, ended_seconds = Tally(), 0.0, workload.seconds
    open_pipes = list(pipes)
    while open_pipes:
        for ready in wait(open_pipes):
            pipe = cast("Pipe", ready)
            message = _receive(pipe)
            if isinstance(message, Snapshot):
                total.add(message)
                if watch:
                    watch(total)
            else:  # the last one
                ended_seconds, busy = max(ended_seconds, message[0]), max(busy, message[1])
                open_pipes.remove(pipe)
    return Result(workload, total, ended_seconds - workload.warmup_seconds, busy)


def _receive(pipe: Pipe) -> Any:
    try:
        return pipe.recv()
    except EOFError:
        raise DigitsError("a process of the load generator died") from None
