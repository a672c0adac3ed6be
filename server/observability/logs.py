"""How log lines look, for a person's terminal or a collector, and which of them are written.

structlog makes the events, the standard library writes them: a line of a library looks like one of ours.
"""

import logging
import sys
from collections.abc import Callable
from typing import Any, Literal

import structlog
from structlog.typing import EventDict, Processor

from server.observability.recent_events import RecentEvent, reporter
from server.settings import Level

OWN = "server"  # the logger of our own events

_configured: Level = "info"
_debugging = False


def configure(
    log_format: Literal["console", "json"],
    level: Level,
    tell: Callable[[RecentEvent], None] = lambda _: None,
) -> None:
    """Write log lines of `level` and above to standard error, one a line, and tell of events for the status page.

    Tracebacks are without local variables: those hold callers' images.
    """
    global _configured  # noqa: PLW0603 - as structlog's own configuration, one a process
    _configured = level
    time_stamp = structlog.processors.TimeStamper(fmt="iso", utc=log_format == "json")
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            time_stamp,
            reporter(tell),
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
    # A line that cannot be written is lost: a full disk must not fail a call that logs.
    logging.raiseExceptions = False
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger(OWN).setLevel(logging.DEBUG)  # structlog has chosen by then
    debug(level == "debug")


def _renderers(log_format: str) -> list[Processor]:
    if log_format == "json":
        return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
    plain = structlog.dev.plain_traceback
    return [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]


def _add_library(_: Any, __: str, event: EventDict) -> EventDict:
    event["library"] = event["_record"].name
    return event


def debugging() -> bool:
    """Tell whether every line is written, a line for each call among them."""
    return _debugging


def debug(on: bool) -> None:
    """Write every line from now on, or only lines of the configured level."""
    global _debugging  # noqa: PLW0603 - likewise
    _debugging = on
    level = logging.DEBUG if on else max(logging.getLevelNamesMapping()[_configured.upper()], logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def toggle_debug() -> None:
    """Write every line, or no longer, and say which."""
    debug(not _debugging)
    structlog.get_logger().warning("log level", level_now="debug" if _debugging else _configured)
