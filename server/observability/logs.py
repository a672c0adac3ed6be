"""Logging: format, level, and the events that the status page shows.

structlog formats events, the standard library writes them, so lines of libraries have the same format.
"""

import logging
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Literal

import msgspec
import structlog
from structlog.typing import EventDict, Processor

from server.settings import Level

OWN = "server"  # the logger of structlog's events
GRPC = "grpc._cython.cygrpc"
# Log events about versions and processes, not about calls.
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

_configured: Level = "info"
_debugging = False


class RecentEvent(msgspec.Struct, frozen=True):
    """An event: Unix time, name, level, details as text, and the worker that it concerns."""

    at: float
    event: str
    level: str
    details: str
    worker: str = ""

    @classmethod
    def of(cls, event: Mapping[str, Any]) -> "RecentEvent":
        """Convert a log event."""
        details = ", ".join(
            str(value) if key in SENTENCES else f"{key} {value}"
            for key, value in event.items()
            if key not in NO_DETAILS
        )
        return cls(time.time(), event["event"], event["level"], details[:MAX_CHARACTERS])


# Of this process and its workers, oldest first.
RecentEvents = deque[RecentEvent]


def configure(
    log_format: Literal["console", "json"],
    level: Level,
    tell: Callable[[RecentEvent], None] = lambda _: None,
) -> None:
    """Write log lines of `level` and above to standard error; give events to the status page.

    Tracebacks omit local variables, which hold callers' images.
    """
    global _configured  # noqa: PLW0603 - as structlog's own configuration, one a process

    def show(_: Any, __: str, event: EventDict) -> EventDict:
        if event["event"] in SHOWN:
            tell(RecentEvent.of(event))
        return event

    _configured = level
    time_stamp = structlog.processors.TimeStamper(fmt="iso", utc=log_format == "json")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            time_stamp,
            show,
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=lambda *_: logging.getLogger(OWN),
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.processors.add_log_level, time_stamp, _add_library],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *_renderers(log_format)],
        )
    )
    # Drop lines that cannot be written: a full disk must not fail calls.
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(OWN).setLevel(logging.DEBUG)  # structlog has filtered by level already
    logging.getLogger(GRPC).addFilter(_without_payloads)
    debug(level == "debug")


def _renderers(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _without_payloads(record: logging.LogRecord) -> bool:
    """Drop gRPC's log line for a header that is not text, which repeats the header's bytes."""
    return "Invalid encoding" not in str(record.msg)


def _add_library(_: Any, __: str, event: EventDict) -> EventDict:
    event["library"] = event["_record"].name
    return event


def debugging() -> bool:
    """Tell whether debug lines, one for each call, are written."""
    return _debugging


def debug(on: bool) -> None:
    """Turn debug lines on, or return to the configured level."""
    global _debugging  # noqa: PLW0603 - likewise
    _debugging = on
    level = logging.DEBUG if on else max(logging.getLevelNamesMapping()[_configured.upper()], logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def toggle_debug() -> None:
    """Toggle debug lines, and log the new level."""
    debug(not _debugging)
    structlog.get_logger().warning("log level", level_now="debug" if _debugging else _configured)
