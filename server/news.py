"""What happened to the server lately, for its status page."""

import time
from collections import deque
from collections.abc import Callable, Mapping, MutableMapping
from dataclasses import dataclass
from typing import Any

from structlog.typing import Processor

# Of the log's events, those that tell what serves; calls are not among them.
NEWS = frozenset(
    {
        *("ready", "draining", "version loaded", "version refused", "version released", "versions serve"),
        *("repository problem", "worker ready", "worker died"),
    }
)
KEPT = 20
MAX_CHARACTERS = 300
NO_DETAILS = frozenset({"event", "level", "timestamp", "exception", "exc_info", "sha256"})

SENTENCES = frozenset({"problem", "reason"})


@dataclass(frozen=True, slots=True)
class Item:
    """One thing that happened: when (Unix time), to whom, what, how bad, and the details as text."""

    at: float
    event: str
    level: str
    details: str
    worker: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "Item":
        """Make one of a log event."""
        details = ", ".join(
            str(value) if key in SENTENCES else f"{key} {value}"
            for key, value in event.items()
            if key not in NO_DETAILS
        )
        return cls(time.time(), event["event"], event["level"], details[:MAX_CHARACTERS])


class News:
    """The last few things that happened in this process and its workers."""

    def __init__(self) -> None:
        self._items: deque[Item] = deque(maxlen=KEPT)

    def add(self, item: Item) -> None:
        """Remember one."""
        self._items.append(item)

    def receive(self, fields: Mapping[str, Any], worker: int) -> None:
        """Remember one that a worker tells of, by its fields."""
        self.add(Item(**{**fields, "worker": str(worker)}))

    def latest(self) -> list[Item]:
        """Return them, newest first."""
        return list(self._items)[::-1]


def reporter(tell: Callable[[Item], None]) -> Processor:
    """Return a step of structlog's that tells of each event that is news and passes all of them on."""

    def step(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        if event["event"] in NEWS:
            tell(Item.of(event))
        return event

    return step
