"""What is written down about calls: latencies in HDR histograms, failures by status."""

import threading
from collections import Counter
from dataclasses import dataclass, field
from typing import Self

from hdrh.histogram import HdrHistogram

# Microseconds to ten minutes, three significant digits.
_LOWEST, _HIGHEST, _DIGITS = 1, 600_000_000, 3


def histogram() -> HdrHistogram:
    """Make an empty histogram of microseconds."""
    return HdrHistogram(_LOWEST, _HIGHEST, _DIGITS)


@dataclass(slots=True)
class Snapshot:
    """Hold what happened in a stretch of `seconds`; histograms travel encoded between processes.

    `latency` counts from when a call was due; `lateness` is how long after that it was sent.
    """

    seconds: float
    latency: bytes
    lateness: bytes
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)


@dataclass(slots=True)
class Tally:
    """Add up snapshots."""

    latency: HdrHistogram = field(default_factory=histogram)
    lateness: HdrHistogram = field(default_factory=histogram)
    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    def add(self, snapshot: Snapshot) -> Self:
        """Add one."""
        self.latency.decode_and_add(snapshot.latency)
        self.lateness.decode_and_add(snapshot.lateness)
        self.ok += snapshot.ok
        self.failed += snapshot.failed
        return self

    def latency_ms(self, percentile: float) -> float:
        """Latency that `percentile` % of the calls kept within, milliseconds."""
        return float(self.latency.get_value_at_percentile(percentile)) / 1e3


class Recorder:
    """Write calls down as they end; safe to use from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._fresh()

    def _fresh(self) -> None:
        self._latency, self._lateness = histogram(), histogram()
        self._ok = 0
        self._failed: Counter[str] = Counter()

    def answered(self, due: float, sent: float, now: float) -> None:
        """Write down an answer; the three are times of one clock, seconds."""
        with self._lock:
            self._ok += 1
            self._latency.record_value(max(1, round((now - due) * 1e6)))
            self._lateness.record_value(max(1, round((sent - due) * 1e6)))

    def failed(self, reason: str, calls: int = 1) -> None:
        """Write down calls that failed, or could not be sent."""
        with self._lock:
            self._failed[reason] += calls

    def take(self, seconds: float) -> Snapshot:
        """Hand over what happened since the last time, and start afresh."""
        with self._lock:
            latency, lateness, ok, failed = self._latency, self._lateness, self._ok, self._failed
            self._fresh()
        return Snapshot(seconds, latency.encode(), lateness.encode(), ok, failed)
