"""One process that puts load on a server."""

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection as Pipe

import numpy as np
from numpy.typing import NDArray

from clients.load.lanes import open_lane, request_bytes
from clients.load.plan import Plan
from clients.load.record import Recorder

_REPORT_SECONDS = 1.0
# An open loop does not wait for answers, but nothing is unbounded.
_MAX_IN_FLIGHT = 10_000
_MAX_BYTES_IN_FLIGHT = 64 * 2**20
_HOPELESS_SECONDS = 1.0  # what is not sent so long after the end of the run never will be
_PAUSE_SECONDS = 0.02


def work(plan: Plan, pipe: Pipe) -> None:
    """Say that we are ready, wait for the word, drive the load.

    Sends a Snapshot each second, and at the end the seconds until the last answer.
    """
    driver = _Driver(plan)
    pipe.send("ready")
    pipe.recv()
    ended = threading.Event()
    reporter = threading.Thread(target=_report, args=(driver.recorder, pipe, ended), daemon=True)
    reporter.start()
    if plan.rate is None:
        driver.closed_loop()
    else:
        driver.open_loop()
    seconds = driver.drain()
    ended.set()
    reporter.join()
    pipe.send(seconds)


def _report(recorder: Recorder, pipe: Pipe, ended: threading.Event) -> None:
    last = time.perf_counter()
    done = False
    while not done:
        done = ended.wait(_REPORT_SECONDS)
        now = time.perf_counter()
        pipe.send(recorder.take(now - last))
        last = now


class _Driver:
    """Send calls by a plan and write down how they end."""

    def __init__(self, plan: Plan) -> None:
        self.recorder = Recorder()
        self._plan = plan
        self._lanes = [open_lane(plan) for _ in range(plan.connections)]
        self._next_lane = itertools.cycle(self._lanes)
        self._flying = 0
        self._most_flying = max(64, min(_MAX_IN_FLIGHT, _MAX_BYTES_IN_FLIGHT // len(request_bytes(plan))))
        self._landed = threading.Condition()
        self._start = self._last = time.perf_counter()

    def open_loop(self) -> None:
        """Send each call when it is due, whatever became of those before."""
        due_seconds = self._plan.due_seconds()
        self._start = time.perf_counter()
        hopeless = self._start + self._plan.seconds + _HOPELESS_SECONDS
        for number, due in enumerate(_one_by_one(due_seconds)):
            now = time.perf_counter()
            if now > hopeless:
                self.recorder.failed("NOT_SENT", len(due_seconds) - number)
                break
            if self._start + due > now:
                time.sleep(self._start + due - now)
            if self._flying < self._most_flying:
                self._send(self._start + due)
            else:
                self.recorder.failed("NOT_SENT")

    def closed_loop(self) -> None:
        """Keep `in_flight` calls travelling."""
        self._start = time.perf_counter()
        end = self._start + self._plan.seconds

        def again() -> None:
            now = time.perf_counter()
            if now < end:
                self._send(now, again)

        for _ in range(self._plan.in_flight):
            again()
        time.sleep(self._plan.seconds)

    def drain(self) -> float:
        """Wait for the calls that still travel, no longer than their deadline; seconds since the start."""
        with self._landed:
            self._landed.wait_for(lambda: self._flying == 0, self._plan.connection.timeout_seconds + 1)
        for lane in self._lanes:
            lane.close()
        return self._last - self._start

    def _send(self, due: float, then: Callable[[], None] | None = None) -> None:
        sent = time.perf_counter()
        with self._landed:
            self._flying += 1

        def landed(problem: str | None) -> None:
            self._last = now = time.perf_counter()
            if due - self._start >= self._plan.warmup_seconds:
                if problem is None:
                    self.recorder.answered(due, sent, now)
                else:
                    self.recorder.failed(problem)
            if then and problem is None:
                then()
            elif then:  # a server that is gone fails calls as quickly as they are made
                threading.Timer(_PAUSE_SECONDS, then).start()
            with self._landed:
                self._flying -= 1
                self._landed.notify_all()

        next(self._next_lane).send(landed)


def _one_by_one(values: NDArray[np.float64]) -> Iterator[float]:
    """Yield Python's own floats without making all of them at once."""
    for start in range(0, len(values), 4096):
        yield from values[start : start + 4096].tolist()
