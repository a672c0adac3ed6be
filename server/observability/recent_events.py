"""Recent events of the server, for its status page."""

import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from typing import Any

import msgspec
from structlog.typing import Processor

# Events of the log that tell of versions and processes; calls are not among them.
SHOWN = frozenset(
    {
        *("ready", "draining", "version loaded", "version refused", "version released", "versions serve"),
        *("repository problem", "worker ready", "worker died"),
    }
)
KEPT = 20
MAX_CHARACTERS = 300
NO_DETAILS = frozenset({"event", "level", "timestamp", "exception", "exc_info", "sha256", "logger"})
SENTENCES = frozenset({"problem", "reason"})


class RecentEvent(msgspec.Struct, frozen=True):
    """An event: when (Unix time), what, how bad, the details as text, and the worker that it happened to."""

    at: float
    event: str
    level: str
    details: str
    worker: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "RecentEvent":
        """Convert an event of the log."""
        details = ", ".join(
            str(value) if key in SENTENCES else f"{key} {value}"
            for key, value in event.items()
            if key not in NO_DETAILS
        )
        return cls(time.time(), event["event"], event["level"], details[:MAX_CHARACTERS])


class RecentEvents:
    """The last few events of this process and its workers."""

    def __init__(self) -> None:
        self._events: deque[RecentEvent] = deque(maxlen=KEPT)

    def add(self, event: RecentEvent) -> None:
        """Remember an event."""
        self._events.append(event)

    def latest(self) -> list[RecentEvent]:
        """Return them, newest first."""
        return list(self._events)[::-1]


def reporter(tell: Callable[[RecentEvent], None]) -> Processor:
    """Return a step of structlog's that passes each event on, and tells of those for the status page."""

    def step(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] in SHOWN:
            tell(RecentEvent.of(event))
        return event

    return step
