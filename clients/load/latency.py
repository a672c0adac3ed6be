"""HDR histograms of latencies, and failures by status."""

import threading
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from hdrh.histogram import HdrHistogram
from numpy.typing import NDArray

# Microseconds to ten minutes, three significant digits.
_LOWEST, _HIGHEST, _DIGITS = 1, 600_000_000, 3


def histogram() -> HdrHistogram:
    """Make an empty histogram of microseconds."""
    return HdrHistogram(_LOWEST, _HIGHEST, _DIGITS)


@dataclass(slots=True)
class Snapshot:
    """The calls that ended in an interval.

    `answered` has five doubles per call: due, sent and answered (seconds of one clock), and the server's
    queue and compute durations (microseconds).
    """

    answered: bytes
    failed: Counter[str] = field(default_factory=Counter)


class Recorder:
    """Records calls as they end; thread-safe. The collecting process computes the histograms."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._answered, self._failed = array("d"), Counter[str]()

    def answered(
        self, due: float, sent: float, now: float, queue_us: float = 0, compute_us: float = 0
    ) -> None:
        """Record an answer."""
        with self._lock:
            self._answered.extend((due, sent, now, queue_us, compute_us))

    def failed(self, reason: str, calls: int = 1) -> None:
        """Record calls that failed or could not be sent."""
        with self._lock:
            self._failed[reason] += calls

    def take(self) -> Snapshot:
        """Return the calls since the last snapshot."""
        with self._lock:
            answered, failed = self._answered, self._failed
            self._answered, self._failed = array("d"), Counter()
        return Snapshot(answered.tobytes(), failed)


@dataclass(slots=True)
class Tally:
    """The sum of snapshots: histograms of microseconds.

    `latency` counts from when a call was due, `lateness` until it was sent; `queue` and `compute` are the
    server's.
    """

    latency: HdrHistogram = field(default_factory=histogram)
    lateness: HdrHistogram = field(default_factory=histogram)
    queue: HdrHistogram = field(default_factory=histogram)
    compute: HdrHistogram = field(default_factory=histogram)
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, snapshot: Snapshot) -> Self:
        """Add one."""
        calls = np.frombuffer(snapshot.answered).reshape(-1, 5)
        due, sent, now = calls[:, 0], calls[:, 1], calls[:, 2]
        _fill(self.latency, (now - due) * 1e6)
        _fill(self.lateness, (sent - due) * 1e6)
        _fill(self.queue, calls[:, 3])
        _fill(self.compute, calls[:, 4])
        self.ok += len(calls)
        self.failed += snapshot.failed
        return self

    def latency_ms(self, percentile: float) -> float:
        """Latency percentile, milliseconds."""
        return _ms(self.latency, percentile)

    def late_ms(self, percentile: float) -> float:
        """Percentile of the delay of sending, milliseconds."""
        return _ms(self.lateness, percentile)

    def server_ms(self, percentile: float) -> tuple[float, float] | None:
        """Percentiles of the server's queue and compute durations, ms; None if the protocol has none."""
        if not self.ok or self.compute.get_max_value() <= _LOWEST:
            return None
        return _ms(self.queue, percentile), _ms(self.compute, percentile)


def _ms(values: HdrHistogram, percentile: float) -> float:
    return float(values.get_value_at_percentile(percentile)) / 1e3


def _fill(into: HdrHistogram, microseconds: NDArray[np.float64]) -> None:
    values = microseconds.clip(_LOWEST, _HIGHEST)
    # Rounded to one digit more than the histogram keeps, to add fewer distinct values.
    step = 10 ** np.floor(np.log10(values) - _DIGITS)
    values, counts = np.unique(np.rint(np.rint(values / step) * step).astype(np.int64), return_counts=True)
    for value, count in zip(values.tolist(), counts.tolist(), strict=True):
        into.record_value(value, count)
