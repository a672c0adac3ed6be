"""How log lines look: for a person's terminal, or JSON for a collector."""

import logging
import sys
from typing import Literal

import structlog
from structlog.typing import Processor


def configure(log_format: Literal["console", "json"]) -> None:
    """Write log lines to standard error, one a line.

    Tracebacks are without local variables: those hold callers' images.
    """
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
            *render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
    )
