"""The lifecycle of a serving process: start, serve, stop."""

import os
import signal
import threading
import time
from collections.abc import Callable

import structlog

from server.errors import StartError
from server.observability.http import HttpPort, Pages
from server.observability.logs import RecentEvents
from server.observability.metrics import Metrics
from server.observability.status_page import StatusPage
from server.observability.table import RESTARTS, WORKERS
from server.observability.tracing import Tracing
from server.process.listeners import Listener, Ports, announce, grpc_listeners, http_sockets
from server.process.signals import Signals
from server.rpc.data_plane import DataPlane
from server.settings import DEFAULT_MODEL, Settings
from server.versions.reconciler import Reconciler
from server.versions.registry import Registry

# A data plane that does not respond for this long is stuck: batches take milliseconds.
ANSWER_SECONDS = 5.0

log = structlog.get_logger()


class App:
    """A serving process, alone or as one of several workers."""

    def __init__(self, settings: Settings, signals: Signals, *, beside: bool = False) -> None:
        """Build all components; nothing listens or loads yet.

        `beside` says that other processes already serve.

        Raises:
            StartError: a setting cannot be used.

        """
        self._settings = settings
        self._signals = signals
        self.metrics = Metrics()
        self.registry = Registry(settings.default_model or DEFAULT_MODEL, self.metrics)
        self._tracing = Tracing.start(os.environ)
        self.plane = DataPlane(settings, self.registry, self.metrics, self._tracing)
        self._reconciler = Reconciler(
            settings,
            self.registry,
            self.metrics,
            make_batcher=self.plane.batcher,
            call_soon=self.plane.call_soon,
            beside=beside,
        )
        if settings.model_control:
            self.registry.change_model = self._reconciler.change
        signals.hangup = self._reconciler.wake
        signals.diagnosed = self._log_queues

    @property
    def alive(self) -> bool:
        """Whether the data plane responds and the batchers run; not to be called on its thread."""
        answered = threading.Event()
        self.plane.call_soon(answered.set)
        return answered.wait(ANSWER_SECONDS) and self.registry.alive

    @property
    def ready(self) -> bool:
        """Whether the default model serves and the process is not stopping."""
        return self.plane.health.serving

    def run(
        self,
        ready: Callable[[Ports], object],
        *,
        shared: tuple[Listener, Listener | None] | None = None,
        turn_seconds: float = 0.0,
    ) -> None:
        """Listen, load, call `ready`, and answer calls until a signal.

        With `shared`, other processes listen on the same ports; stop `turn_seconds` after the first of them.

        Raises:
            StartError: a port cannot be bound, or the default model has no version that can serve.

        """
        settings, signals, plane = self._settings, self._signals, self.plane
        if shared is None:
            # Alone: listen first, so that probes are answered while models load.
            ports = self._listen(grpc_listeners(settings), shared=False)
            self._load_while_answering()
        else:
            # Shared: load first, since the kernel spreads connections over all listening processes.
            self._reconciler.start()
            ports = self._listen(shared, shared=True)

        # Serve.
        self.registry.open()
        plane.run_for(0)  # health changes before `ready` is called
        signals.stop_gracefully()
        ready(ports)
        plane.run(signals.stopping.is_set)

        # Stop: become not ready, drain, finish calls in flight, release.
        log.info("draining", signal=signals.received.name, inflight_images=self.registry.inflight_images)
        plane.health.drain()
        self._reconciler.close()
        if signals.received == signal.SIGTERM:
            plane.run_for(settings.drain_seconds)
        plane.run_for(turn_seconds)
        plane.stop(settings.grace_seconds)
        if self._tracing:
            self._tracing.close()

    def _log_queues(self) -> None:
        for name, batcher in self.registry.batchers.items():
            log.info(
                "queue",
                name=name,
                queued_images=batcher.queued_images,
                inflight_images=batcher.inflight_images,
                oldest_seconds=round(batcher.oldest_seconds, 6),
            )

    def _listen(self, listeners: tuple[Listener, Listener | None], *, shared: bool) -> Ports:
        grpc, health = listeners
        return Ports(*self.plane.listen(grpc.addresses, health.addresses if health else (), shared=shared))

    def _load_while_answering(self) -> None:
        loaded = threading.Event()
        failures: list[StartError] = []

        def load() -> None:
            try:
                self._reconciler.start()
            except StartError as error:
                failures.append(error)
            finally:
                loaded.set()

        threading.Thread(target=load, name="start", daemon=True).start()
        self.plane.run(loaded.is_set)
        if failures:
            raise failures[0]


def serve(settings: Settings, events: RecentEvents) -> None:
    """Run a server in this process until SIGTERM or SIGINT.

    Raises:
        StartError: it cannot start; the message says why.

    """
    started = time.monotonic()
    signals = Signals()
    app = App(settings, signals)
    app.metrics.store.set(WORKERS, value=1)
    app.metrics.store.add(RESTARTS, amount=0)
    page = StatusPage(app.metrics.read, events)
    pages = Pages(app.metrics.registry(), page, live=lambda: app.alive, ready=lambda: app.ready)
    http = HttpPort(http_sockets(settings.http_host, settings.metrics_port), pages)

    def ready(ports: Ports) -> None:
        log.info(
            "ready",
            **ports.facts,
            metrics_port=http.port,
            models=list(app.registry.states),
            seconds=round(time.monotonic() - started, 2),
        )
        announce(settings, ports, http.port, app.metrics.read())

    app.run(ready)
    http.close()
    log.info("stopped")
