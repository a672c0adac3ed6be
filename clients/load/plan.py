"""What load to put on a server, and when each call is due."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray

from clients.connection import Connection
from clients.errors import InputError
from clients.images import PIXELS
from clients.protocols import WIRES

Arrivals = Literal["constant", "poisson"]
_MAX_CALLS = 20_000_000


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Describe a run of `seconds`, of which the first `warmup_seconds` are not counted.

    Open loop where `rate` (calls a second) is given: calls are due at times that do not depend on
    the answers, evenly spaced or as a Poisson process, and latency counts from when a call was due.
    `end_rate` makes the rate grow or fall to it in a straight line. Closed loop otherwise:
    `in_flight` calls travel at any time, and the next leaves when one comes back. With `stream`
    requests share one bidirectional stream a connection.
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
    stream: bool = False
    model: str = ""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.warmup_seconds >= self.seconds:
            raise InputError(
                f"warm-up is {self.warmup_seconds:g} s, expected less than the run's {self.seconds:g} s"
            )
        if self.rate and max(self.rate, self.end_rate or 0) * self.seconds > _MAX_CALLS:
            raise InputError(
                f"{self.rate * self.seconds:,.0f} calls in one run, expected at most {_MAX_CALLS:,}"
            )
        if self.stream and not WIRES[self.connection.protocol].stream_method:
            raise InputError(f"the {self.connection.protocol} protocol has no stream that answers in order")
        if self.rate is None and self.end_rate is not None:
            raise InputError("an end rate needs a rate to start from")

    def share(self, process: int) -> Self:
        """Cut out what one of the processes does."""
        part = 1 / self.processes
        return replace(
            self,
            rate=self.rate and self.rate * part,
            end_rate=self.end_rate and self.end_rate * part,
            in_flight=max(1, round(self.in_flight * part)),
            connections=max(1, round(self.connections * part)),
            seed=self.seed + process,
        )

    def due_seconds(self) -> NDArray[np.float64]:
        """When each call of an open loop is due, from the start of the run, in order."""
        start = self.rate or 0.0
        end = start if self.end_rate is None else self.end_rate
        total = (start + end) / 2 * self.seconds
        if self.arrivals == "constant":
            counts = np.arange(int(total), dtype=np.float64)
        else:
            gaps = np.random.default_rng(self.seed).exponential(size=int(total + 6 * np.sqrt(total) + 10))
            counts = gaps.cumsum()
            counts = counts[counts < total]
        return _moment(start, end, self.seconds)(counts)

    def images(self) -> NDArray[np.uint8]:
        """Make the images of one call, uint8 (n, 784): noise, which takes a network as long as digits do."""
        rng = np.random.default_rng(self.seed)
        return rng.integers(0, 256, (self.images_per_call, PIXELS), np.uint8)


def _moment(start: float, end: float, seconds: float) -> Callable[[NDArray[np.float64]], NDArray[np.float64]]:
    """Invert the number of calls due by time t: start t + (end - start) t^2 / (2 seconds)."""
    if start == end:
        return lambda counts: counts / start
    slope = (end - start) / seconds
    return lambda counts: (np.sqrt(start**2 + 2 * slope * counts) - start) / slope
