"""A worker process, and its messages to the supervisor.

A worker reads its job from standard input, then a line for each requested report; end of file means that the
supervisor is gone. It writes reports and events to a separate pipe. Messages are lines of JSON.
"""

import importlib
import logging
import os
import signal
import sys
import threading
import time
from contextlib import suppress
from queue import Empty, Full, Queue
from typing import TYPE_CHECKING, BinaryIO

import msgspec
import structlog

from server.errors import StartError
from server.machine import give_way
from server.observability.logs import RecentEvent, configure, debug
from server.observability.series import Snapshot
from server.process.listeners import Listener
from server.process.signals import Signals, block
from server.settings import Settings

if TYPE_CHECKING:
    from server.process.app import App

MAX_EVENTS = 1000
ASK = b"report\n"
# Interval of reports, and how many may be missing or say that the data plane is stuck before the worker is
# killed. Reports are counted rather than seconds, so that resuming a suspended machine kills no worker.
REPORT_SECONDS = 1.0
MISSED_REPORTS = 10

log = structlog.get_logger()


class Job(msgspec.Struct):
    """The task of a worker."""

    settings: Settings
    slot: int
    listeners: tuple[Listener, Listener | None]
    turn_seconds: float  # how long after the first worker this one stops
    beside: bool = False  # other workers already serve
    debug: bool = False


class Report(msgspec.Struct, tag=True):
    """The state of a worker."""

    metrics: Snapshot
    ready: bool  # the default model serves
    alive: bool | None = None  # the data plane responds; None in a requested report


class Event(msgspec.Struct, tag=True):
    """An event of a worker for the status page."""

    event: RecentEvent


def encode(message: Job | Report | Event) -> bytes:
    """Encode a message as a line of JSON."""
    return msgspec.json.encode(message, enc_hook=str) + b"\n"


def read_job(line: bytes) -> Job:
    """Decode a job; raises msgspec.MsgspecError."""
    return msgspec.json.decode(line, type=Job, dec_hook=lambda kind, value: kind(value))


def read_message(line: bytes) -> Report | Event:
    """Decode a report or an event; raises msgspec.MsgspecError."""
    return msgspec.json.decode(line, type=Report | Event)


def main(reports_to: int) -> int:
    """Serve the job on standard input until a signal or end of file; return the exit code."""
    block()
    # Ctrl-C in a terminal goes to the supervisor alone. A process group rather than a session: with
    # sched_autogroup, niceness has no effect between sessions.
    os.setpgrp()
    signals = Signals()
    job = read_job(sys.stdin.buffer.readline())
    reports = Reports(reports_to)
    configure(job.settings.log_format, job.settings.log_level, reports.event)
    if job.debug:
        debug(on=True)
    threading.Thread(
        target=follow, args=(sys.stdin.buffer, reports, signals), name="supervisor", daemon=True
    ).start()
    if job.beside:
        _import_apart()
    try:
        _serve(job, signals, reports)
    except StartError as error:
        print(f"digit-server: worker {job.slot}: {error}", file=sys.stderr)  # noqa: T201 - why it ended
        return 1
    except Exception:
        log.exception("worker failed", worker=job.slot)
        return 1
    finally:
        logging.shutdown()
    return 0


def _import_apart() -> None:
    """Import at low priority, which is most of the work of a start, while other workers serve."""

    def run() -> None:
        give_way()
        importlib.import_module("server.process.app")

    importing = threading.Thread(target=run)
    importing.start()
    importing.join()


def _serve(job: Job, signals: Signals, reports: "Reports") -> None:
    from server.process.app import App  # noqa: PLC0415 - may have to be imported at low priority

    app = App(job.settings, signals, beside=job.beside)
    app.run(lambda _: reports.start(app), shared=job.listeners, turn_seconds=job.turn_seconds)


def follow(supervisor: BinaryIO, reports: "Reports", signals: Signals) -> None:
    """Report when the supervisor asks; stop when it is gone."""
    while supervisor.readline():
        reports.ask()
    if signals.stopping.is_set():
        os._exit(1)  # the supervisor is gone
    signals.stop(signal.SIGINT)


class Reports:
    """Writes to the supervisor on a thread of its own, since a slow reader would block."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._queue: Queue[RecentEvent | None] = Queue(MAX_EVENTS)  # None requests a report
        self._app: App | None = None
        self._answered = threading.Event()
        threading.Thread(target=self._run, name="reports", daemon=True).start()

    def event(self, event: RecentEvent) -> None:
        """Queue an event; dropped if too many are queued."""
        with suppress(Full):
            self._queue.put_nowait(event)

    def ask(self) -> None:
        """Queue a report."""
        with suppress(Full):
            self._queue.put_nowait(None)

    def start(self, app: "App") -> None:
        """Start to report every second."""
        self._answered.set()
        self._app = app
        self.ask()

    def _run(self) -> None:
        due = time.monotonic()
        with suppress(OSError):  # the supervisor is gone; `Worker` notices it on standard input
            while True:
                try:
                    event = self._queue.get(timeout=max(due - time.monotonic(), 0))
                except Empty:
                    event = None
                if event is not None:
                    self._write(Event(event))
                elif self._app is not None:
                    self._write(self._report(self._app, own=time.monotonic() >= due))
                if time.monotonic() >= due:
                    due = time.monotonic() + REPORT_SECONDS

    def _report(self, app: "App", *, own: bool) -> Report:
        alive = None
        if own:  # whether the data plane responded since the last report
            alive = self._answered.is_set() and app.registry.alive
            if self._answered.is_set():
                self._answered.clear()
                app.plane.call_soon(self._answered.set)
        return Report(app.metrics.read(), app.ready, alive)

    def _write(self, message: Report | Event) -> None:
        line = memoryview(encode(message))
        while line:
            line = line[os.write(self._pipe, line) :]
