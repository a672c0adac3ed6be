"""How log lines look, for a person's terminal or a collector, and which of them are written."""

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from typing import Literal, TextIO

import structlog
from structlog.typing import Processor

from server.news import Item, reporter

Level = Literal["debug", "info", "warning", "error"]

# gRPC's words, with a traceback, for an answer to somebody who has left and for a header that is no text:
# nothing that an operator could mend, and thousands a second where somebody wants it so.
NOT_OURS = ("ExecuteBatchError raised in core by servicer method", "Invalid encoding on ")

_configured: Level = "info"
_debugging = False


def configure(
    log_format: Literal["console", "json"], level: Level, tell: Callable[[Item], None] = lambda _: None
) -> None:
    """Write log lines of `level` and above to standard error, one a line, and tell of those that are news.

    Tracebacks are without local variables: those hold callers' images.
    """
    global _configured  # noqa: PLW0603 - as structlog's own configuration, one a process
    _configured = level
    render: list[Processor]
    if log_format == "json":
        render = [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    else:
        plain = structlog.dev.plain_traceback
        render = [structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=plain)]
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=log_format == "json"),
            reporter(tell),
            *render,
        ],
        logger_factory=structlog.WriteLoggerFactory(_Forgiving(sys.stderr)),  # type: ignore[arg-type]  # all it uses
    )
    debug(level == "debug")
    logging.basicConfig(handlers=[_Bridge()], level=logging.WARNING)


class _Bridge(logging.Handler):
    """Writes what libraries log as lines like our own."""

    def emit(self, record: logging.LogRecord) -> None:
        message = record.getMessage()
        if message.startswith(NOT_OURS):
            return
        log = structlog.get_logger()
        log.log(record.levelno, message, library=record.name, exc_info=record.exc_info)


def debugging() -> bool:
    """Tell whether every line is written, a line for each call among them."""
    return _debugging


def debug(on: bool) -> None:
    """Write every line from now on, or those of the configured level."""
    global _debugging  # noqa: PLW0603 - likewise
    _debugging = on
    level = logging.DEBUG if on else max(logging.getLevelNamesMapping()[_configured.upper()], logging.INFO)
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(level))


def toggle_debug() -> None:
    """Write every line, or no longer, and say which."""
    debug(not _debugging)
    structlog.get_logger().warning("log level", level_now="debug" if _debugging else _configured)


class _Forgiving:
    """A file that loses what cannot be written: a full disk must not fail a call that wants to log."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> None:
        with suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._file.flush()
