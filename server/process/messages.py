"""Messages between a supervisor and its workers: lines of JSON, checked when they are read.

A worker reads its job from standard input, then a line each time that a report is asked for; the end of it says that
the supervisor is gone. It writes reports and events to a pipe of its own.
"""

import msgspec

from server.observability.recent_events import RecentEvent
from server.observability.series import Snapshot
from server.process.listeners import Listener
from server.settings import Settings

ASK = b"report\n"
# How often a worker reports by itself, and how many reports may fail to come or say that it does not answer calls:
# batches take milliseconds. Reports are counted, not seconds, so that a machine that was suspended does not kill
# what wakes up with it.
REPORT_SECONDS = 1.0
MISSED_REPORTS = 10


class Job(msgspec.Struct):
    """The task of a worker."""

    settings: Settings
    slot: int
    listeners: tuple[Listener, Listener | None]
    turn_seconds: float  # how long after the first worker it stops
    beside: bool = False  # other workers serve already
    debug: bool = False


class Report(msgspec.Struct, tag=True):
    """How a worker is."""

    metrics: Snapshot
    ready: bool  # its default model serves
    alive: bool | None = None  # it answers calls; None in a report that was asked for


class Event(msgspec.Struct, tag=True):
    """An event of a worker for the status page."""

    event: RecentEvent


def encode(message: Job | Report | Event) -> bytes:
    """Return a message as a line."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def read_job(line: bytes) -> Job:
    """Read a worker's job; raises msgspec.MsgspecError where it is none."""
    return msgspec.json.decode(line, type=Job, dec_hook=lambda kind, value: kind(value))


def read_message(line: bytes) -> Report | Event:
    """Read what a worker tells; raises msgspec.MsgspecError where it is neither."""
    return msgspec.json.decode(line, type=Report | Event)
