"""The load to put on a server, and when each call is due."""

from dataclasses import asdict, dataclass, replace
from typing import Any, Literal, Self

import numpy as np
from numpy.typing import NDArray

from clients.connection import Connection
from clients.data.values import PIXELS
from clients.errors import InputError

Arrivals = Literal["constant", "poisson"]
_MAX_CALLS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A run of `seconds`; calls due in the first `warmup_seconds` are not counted.

    Open loop if `rate` (calls a second) is given: calls are due at times that do not depend on the answers,
    evenly spaced or as a Poisson process, and latency counts from when a call was due. `end_rate` changes the
    rate to it in a straight line. Closed loop otherwise: `in_flight` calls travel at any time, and each
    answer starts the next. `process` is the part of one of the `processes`.
    """

    connection: Connection
    images_per_call: int = 1
    rate: float | None = None
    end_rate: float | None = None
    arrivals: Arrivals = "poisson"
    in_flight: int = 64
    seconds: float = 10.0
    warmup_seconds: float = 1.0
    connections: int = 1
    processes: int = 1
    model: str = ""
    seed: int = 0
    process: int = 0

    def __post_init__(self) -> None:
        if self.warmup_seconds >= self.seconds:
            raise InputError(
                f"warm-up is {self.warmup_seconds:g} s, expected less than the run's {self.seconds:g} s"
            )
        if self.rate and max(self.rate, self.end_rate or 0) * self.seconds > _MAX_CALLS:
            raise InputError(
                f"{self.rate * self.seconds:,.0f} calls in one run, expected at most {_MAX_CALLS:,}"
            )
        if self.rate is None and self.end_rate is not None:
            raise InputError("an end rate needs a rate to start from")

    def shares(self) -> list[Self]:
        """Divide the load: exactly, so that fewer calls in flight than processes need fewer processes."""
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

    def due_seconds(self) -> NDArray[np.float64]:
        """Compute when each call of this process is due, from the start of the run, in order."""
        start = self.rate or 0.0
        end = start if self.end_rate is None else self.end_rate
        total = (start + end) / 2 * self.seconds
        if self.arrivals == "constant":  # every n-th call of the whole schedule
            counts = np.arange(self.process, int(total), self.processes, dtype=np.float64)
        else:  # Poisson processes add up to one
            mine = total / self.processes
            rng = np.random.default_rng((self.seed, self.process))
            counts = rng.exponential(self.processes, int(mine + 6 * np.sqrt(mine) + 10)).cumsum()
            counts = counts[counts < total]
        if start == end:
            return counts / start
        # Inverse of the number of calls due by time t: start t + (end - start) t^2 / (2 seconds).
        slope = (end - start) / self.seconds
        return np.asarray((np.sqrt(start**2 + 2 * slope * counts) - start) / slope)

    def images(self) -> NDArray[np.uint8]:
        """Make the images of one call, uint8 (n, 784): noise, which costs a network as much as digits do."""
        rng = np.random.default_rng(self.seed)
        return rng.integers(0, 256, (self.images_per_call, PIXELS), np.uint8)

    def in_words(self) -> str:
        """Describe the load."""
        carrier = "1 image a call" if self.images_per_call == 1 else f"{self.images_per_call} images a call"
        if self.rate is None:
            return f"closed loop, {self.in_flight} calls in flight, {carrier}"
        rate = f"{self.rate:g}" if self.end_rate is None else f"{self.rate:g} to {self.end_rate:g}"
        return f"open loop, {rate} calls/s, {self.arrivals}, {carrier}"

    def record(self) -> dict[str, Any]:
        """Make what a result file keeps of it."""
        fields = {
            name: value for name, value in asdict(self).items() if name not in {"process", "connection"}
        }
        return {"address": self.connection.address, "protocol": self.connection.protocol} | fields


def _part(whole: int, parts: int, number: int) -> int:
    return whole // parts + (number < whole % parts)
