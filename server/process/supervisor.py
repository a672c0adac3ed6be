"""A supervisor of several worker processes that share one port.

The kernel spreads connections over the workers (SO_REUSEPORT). Workers report every second; a worker
whose data plane is stuck is killed. A replacement starts at low priority, so as not to slow down the others.
"""

import signal
import threading
import time

import structlog

from server.errors import StartError
from server.observability.http import HttpPort, Pages
from server.observability.logs import RecentEvents
from server.observability.status_page import StatusPage
from server.process.listeners import Listener, Ports, announce, http_sockets, reserved
from server.process.signals import Signals, die_of
from server.process.worker import Job
from server.process.worker_metrics import WorkerMetrics
from server.process.worker_process import WorkerProcess
from server.rpc.tls import Certificates
from server.rpc.tokens import Tokens
from server.settings import Settings

# How long a worker may take beyond drain and grace before it is killed.
STOP_MARGIN_SECONDS = 5.0
# Workers stop one at a time: their clients reconnect to the remaining workers, and a call that arrives as a
# worker stops is lost. The interval between two workers, and the maximum for all of them.
TURN_SECONDS, TURNS_SECONDS = 0.3, 2.0
# How long /metrics waits for fresh reports of the workers.
REPORT_WAIT_SECONDS = 0.5

log = structlog.get_logger()


class Supervisor:
    """Runs `count` workers."""

    def __init__(self, settings: Settings, count: int, events: RecentEvents) -> None:
        self._settings = settings
        self._events = events
        self._metrics = WorkerMetrics()
        self._changed = threading.Condition()  # notified of changes of any worker
        self._count = count
        self._signals = Signals()
        self._workers: list[WorkerProcess] = []

    def run(self) -> None:
        """Run the workers until SIGTERM or SIGINT, then stop them one at a time.

        Raises:
            StartError: a port is taken, a file of TLS cannot be used, or a worker cannot start.

        """
        # Checked here, to report an error once rather than once per worker.
        Certificates.of(self._settings)
        if self._settings.token_file is not None:
            Tokens(self._settings.token_file)
        started = time.monotonic()
        signals = self._signals
        pages = Pages(
            self._metrics.registry(),
            StatusPage(self._metrics.read, self._events),
            live=lambda: all(worker.thread.is_alive() for worker in self._workers),
            ready=lambda: any(worker.serves for worker in self._workers) and not signals.stopping.is_set(),
            refresh=self._refresh,
        )
        with reserved(self._settings) as listeners:
            http = HttpPort(http_sockets(self._settings.http_host, self._settings.metrics_port), pages)
            signals.stop_gracefully(self._notify)
            self._start(listeners)
            try:
                self._wait_until_ready()
                if signals.stopping.is_set():
                    self._kill()
                    die_of(signals.received)
                ports = Ports(listeners[0].port, listeners[1] and listeners[1].port)
                seconds = round(time.monotonic() - started, 2)
                log.info("ready", **ports.facts, metrics_port=http.port, workers=self._count, seconds=seconds)
                announce(self._settings, ports, http.port, self._metrics.read())
                signals.stopping.wait()
                log.info("stopping workers", signal=signals.received.name, workers=self._count)
            finally:
                self._stop()
                http.close()
        log.info("stopped")

    def _start(self, listeners: tuple[Listener, Listener | None]) -> None:
        turn_seconds = min(TURN_SECONDS, TURNS_SECONDS / self._count)
        for slot in range(self._count):
            job = Job(self._settings, slot, listeners, slot * turn_seconds)
            self._workers.append(WorkerProcess(job, self._metrics, self._events, self._changed))
        signals = self._signals
        signals.hangup = lambda: self._send(signal.SIGHUP)
        signals.diagnosed = lambda: self._send(signal.SIGUSR1)
        signals.debug_toggled = lambda: self._send(signal.SIGUSR2)

    def _wait_until_ready(self) -> None:
        """Wait until every worker is ready, one fails, or a signal arrives."""
        with self._changed:
            self._changed.wait_for(
                lambda: (
                    all(worker.ready for worker in self._workers)
                    or any(worker.failure for worker in self._workers)
                    or self._signals.stopping.is_set()
                )
            )
        for worker in self._workers:
            if worker.failure:
                raise StartError(worker.failure)

    def _notify(self) -> None:
        with self._changed:
            self._changed.notify_all()

    def _refresh(self) -> None:
        """Request reports of the workers, and wait briefly for them."""
        with self._changed:
            due = {worker: worker.reports + 1 for worker in self._workers if worker.ask()}
            self._changed.wait_for(
                lambda: all(worker.reports >= reports or not worker.ready for worker, reports in due.items()),
                REPORT_WAIT_SECONDS,
            )

    def _send(self, signum: signal.Signals) -> None:
        for worker in self._workers:
            worker.send(signum)

    def _kill(self) -> None:
        for worker in self._workers:
            worker.stop(signal.SIGKILL)
        for worker in self._workers:
            worker.thread.join()

    def _stop(self) -> None:
        for worker in self._workers:
            worker.stop(self._signals.received)
        seconds = self._settings.drain_seconds + self._settings.grace_seconds + STOP_MARGIN_SECONDS
        end = time.monotonic() + seconds
        for worker in self._workers:
            worker.thread.join(max(end - time.monotonic(), 0))
        if late := sum(worker.thread.is_alive() for worker in self._workers):
            log.error("workers killed", workers=late, after_seconds=seconds)
            self._kill()
