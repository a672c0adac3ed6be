"""A process of the load generator."""

import threading
import time
from collections.abc import Callable
from itertools import chain, cycle
from multiprocessing.connection import Connection as Pipe
from typing import Any

import grpc

from clients.load.latency import Recorder
from clients.load.workload import Workload
from clients.wire import Question, serialize

_REPORT_SECONDS = 1.0
# Bound of an open loop, which does not wait for answers.
_MAX_IN_FLIGHT = 10_000
_MAX_BYTES_IN_FLIGHT = 64 * 2**20
_HOPELESS_SECONDS = 1.0  # time after the run to send delayed calls
_PAUSE_SECONDS = 0.02


# Receives None for a valid answer, else the status or error; and the response, if any.
Landed = Callable[[str | None, Any], None]


def work(workload: Workload, pipe: Pipe) -> None:
    """Report ready, wait for the start signal, run the workload.

    Sends a Snapshot each second, and finally the time of the last answer in seconds and the CPU share.
    """
    driver = _Driver(workload)
    pipe.send("ready")
    pipe.recv()
    ended = threading.Event()
    reporter = threading.Thread(target=_report, args=(driver.recorder, pipe, ended), daemon=True)
    reporter.start()
    started, cpu = time.perf_counter(), time.process_time()
    if workload.rate is None:
        driver.closed_loop()
    else:
        driver.open_loop()
    busy = (time.process_time() - cpu) / (time.perf_counter() - started)
    seconds = driver.drain()
    ended.set()
    reporter.join()
    pipe.send((seconds, busy))


def _report(recorder: Recorder, pipe: Pipe, ended: threading.Event) -> None:
    done = False
    while not done:
        done = ended.wait(_REPORT_SECONDS)
        pipe.send(recorder.take())


class _Driver:
    """Sends the calls of a workload and records how they end."""

    def __init__(self, workload: Workload) -> None:
        self.recorder = Recorder()
        self._workload = workload
        self._transports = [_Transport(workload) for _ in range(workload.connections)]
        self._next = cycle(self._transports)
        self._flying = 0
        fitting = _MAX_BYTES_IN_FLIGHT // len(self._transports[0].request)
        self._most_flying = max(64, min(_MAX_IN_FLIGHT, fitting))
        self._landed = threading.Condition()
        self._start = self._last = time.perf_counter()

    def open_loop(self) -> None:
        """Send each call when it is due, independently of earlier calls."""
        due_seconds = chain.from_iterable(times.tolist() for times in self._workload.due_seconds())
        self._start = time.perf_counter()
        hopeless = self._start + self._workload.seconds + _HOPELESS_SECONDS
        for due in due_seconds:
            now = time.perf_counter()
            if now > hopeless:
                self.recorder.failed("NOT_SENT", 1 + sum(1 for _ in due_seconds))
                break
            if self._start + due > now:
                time.sleep(self._start + due - now)
            if self._flying < self._most_flying:
                self._send(self._start + due)
            else:
                self.recorder.failed("NOT_SENT")

    def closed_loop(self) -> None:
        """Keep `in_flight` calls in flight."""
        self._start = time.perf_counter()
        end = self._start + self._workload.seconds

        def again() -> None:
            now = time.perf_counter()
            if now < end:
                self._send(now, again)

        for _ in range(self._workload.in_flight):
            again()
        time.sleep(self._workload.seconds)

    def drain(self) -> float:
        """Wait for calls in flight, at most until their deadline; return the seconds since the start."""
        with self._landed:
            self._landed.wait_for(lambda: self._flying == 0, self._workload.connection.timeout_seconds + 1)
        for transport in self._transports:
            transport.close()
        return self._last - self._start

    def _send(self, due: float, then: Callable[[], None] | None = None) -> None:
        sent = time.perf_counter()
        with self._landed:
            self._flying += 1

        def landed(problem: str | None, response: Any) -> None:
            self._last = now = time.perf_counter()
            if due - self._start >= self._workload.warmup_seconds:
                if problem is not None:
                    self.recorder.failed(problem)
                elif timing := getattr(response, "timing", None):
                    self.recorder.answered(due, sent, now, timing.queue_us, timing.compute_us)
                else:
                    self.recorder.answered(due, sent, now)
            if then and problem is None:
                then()
            elif then:  # without a server, calls fail as fast as they are sent
                threading.Timer(_PAUSE_SECONDS, then).start()
            with self._landed:
                self._flying -= 1
                self._landed.notify_all()

        next(self._next).send(landed)


class _Transport:
    """A connection that sends the workload's request, which is serialized once."""

    def __init__(self, workload: Workload) -> None:
        connection, wire = workload.connection, workload.connection.wire
        self.request = serialize(wire.request(Question(model=workload.model), workload.images()))
        self._count, self._expected = wire.count, workload.images_per_call
        self._timeout_seconds, self._metadata = connection.timeout_seconds, connection.metadata
        self._channel = connection.open()
        self._call: Any = self._channel.unary_unary(wire.method, bytes, wire.response.FromString)

    def send(self, landed: Landed) -> None:
        """Start a call."""

        def ended(call: Any) -> None:
            code = call.code()
            if code is grpc.StatusCode.OK:
                response = call.result()
                landed(None if self._count(response) == self._expected else "WRONG_ANSWER", response)
            else:
                landed(code.name, None)

        call = self._call.future(self.request, timeout=self._timeout_seconds, metadata=self._metadata)
        call.add_done_callback(ended)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()
