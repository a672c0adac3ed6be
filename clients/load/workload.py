"""Workloads, and when each call is due."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Annotated, Any, Literal, Self

import numpy as np
from cyclopts import Parameter, validators
from numpy.typing import NDArray

from clients.connection import Connection
from clients.data.values import PIXELS
from clients.errors import InputError

Arrivals = Literal["constant", "poisson"]
_MAX_RATE = 1_000_000
_CALLS_AT_ONCE = 4096  # whose times are computed together: an hour's would take a lot of memory


_POSITIVE = Parameter(validator=validators.Number(gt=0))
_COUNT = Parameter(validator=validators.Number(gte=1))


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class WorkloadOptions:
    """The options of `digit-client load` that describe a run."""

    rate: Annotated[float | None, _POSITIVE] = None
    """Open loop: this many calls a second, whatever the server does. Without it, a closed loop."""
    end_rate: Annotated[float | None, _POSITIVE] = None
    """Change the rate to this in a straight line."""
    arrivals: Arrivals = "poisson"
    """Spacing of the calls of an open loop."""
    images_per_call: Annotated[int, _COUNT] = 1
    """Images in each call."""
    seconds: Annotated[float, _POSITIVE] = 10.0
    """Length of a run."""
    warmup_seconds: Annotated[float, Parameter(validator=validators.Number(gte=0))] = 1.0
    """Do not count calls that were due in the first seconds."""
    connections: Annotated[int, _COUNT] = 1
    """Connections that share the calls."""
    processes: Annotated[int, _COUNT] = 1
    """Processes that make the load."""
    model: str = ""
    """Ask this model instead of the server's default."""


@dataclass(frozen=True, kw_only=True)
class Workload(WorkloadOptions):
    """A workload on a server, or the part of it that one `process` makes.

    In an open loop (with a `rate`) calls are due independently of answers, and latency counts from when a
    call was due; in a closed one, `in_flight` calls are in flight at any time.
    """

    connection: Connection
    in_flight: int = 64
    seed: int = 0
    process: int = 0

    def __post_init__(self) -> None:
        if self.warmup_seconds >= self.seconds:
            raise InputError(
                f"warm-up is {self.warmup_seconds:g} s, expected less than the run's {self.seconds:g} s"
            )
        if (fastest := max(self.rate or 0, self.end_rate or 0)) > _MAX_RATE:
            raise InputError(f"rate is {fastest:,.0f} calls/s, expected at most {_MAX_RATE:,}")
        if self.rate is None and self.end_rate is not None:
            raise InputError("an end rate needs a rate to start from")

    def shares(self) -> list[Self]:
        """Split the workload over processes, at most one for each call in flight."""
        count = self.processes if self.rate is not None else min(self.processes, self.in_flight)
        return [
            replace(
                self,
                in_flight=_part(self.in_flight, count, number),
                connections=max(1, _part(self.connections, count, number)),
                processes=count,
                process=number,
            )
            for number in range(count)
        ]

    def due_seconds(self) -> Iterator[NDArray[np.float64]]:
        """Yield the seconds after the start at which the calls of this process are due, some at a time."""
        start = self.rate or 0.0
        end = start if self.end_rate is None else self.end_rate
        slope = (end - start) / self.seconds
        for counts in self._counts((start + end) / 2 * self.seconds):
            # Inverse of the number of calls due by time t: start t + slope t^2 / 2.
            yield (np.sqrt(start**2 + 2 * slope * counts) - start) / slope if slope else counts / start

    def _counts(self, total: float) -> Iterator[NDArray[np.float64]]:
        """Yield the places of the calls of this process in the whole schedule, up to `total`."""
        if self.arrivals == "constant":  # every n-th call
            step = self.processes * _CALLS_AT_ONCE
            for first in range(self.process, int(total), step):
                yield np.arange(first, min(first + step, int(total)), self.processes, dtype=np.float64)
            return
        rng, last = np.random.default_rng((self.seed, self.process)), 0.0
        while last < total:  # the sum of Poisson processes is one
            counts = last + rng.exponential(self.processes, _CALLS_AT_ONCE).cumsum()
            last = counts[-1]
            yield counts[counts < total]

    def images(self) -> NDArray[np.uint8]:
        """Return the images of a call, uint8 (n, 784): noise, which costs as much as digits."""
        rng = np.random.default_rng(self.seed)
        return rng.integers(0, 256, (self.images_per_call, PIXELS), np.uint8)

    def in_words(self) -> str:
        """Return a description."""
        carrier = "1 image a call" if self.images_per_call == 1 else f"{self.images_per_call} images a call"
        if self.rate is None:
            return f"closed loop, {self.in_flight} calls in flight, {carrier}"
        rate = f"{self.rate:g}" if self.end_rate is None else f"{self.rate:g} to {self.end_rate:g}"
        return f"open loop, {rate} calls/s, {self.arrivals}, {carrier}"

    def record(self) -> dict[str, Any]:
        """Return the workload as in a result file."""
        fields = {
            name: value for name, value in asdict(self).items() if name not in {"process", "connection"}
        }
        return {"address": self.connection.address, "protocol": self.connection.protocol} | fields


def _part(whole: int, parts: int, number: int) -> int:
    return whole // parts + (number < whole % parts)
