"""The data plane: ports, handlers and services on one thread."""

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import TYPE_CHECKING

from grpc import ServerCredentials
from grpc_health.v1 import health_pb2

from server.batching.batcher import Batcher
from server.batching.threaded import ThreadedBatcher
from server.errors import StartError
from server.model.model import Model
from server.observability.metrics import Metrics
from server.observability.tracing import Tracing
from server.rpc.access_log import AccessLog
from server.rpc.connections import channel_arguments
from server.rpc.handler import Handler
from server.rpc.health import HEALTH_SERVICE, Health
from server.rpc.open_inference import INFERENCE_SERVICE, InferenceService
from server.rpc.pictures import Pictures
from server.rpc.prediction import PREDICTION_SERVICE, PredictionService
from server.rpc.reflection import REFLECTION_NAMES, REFLECTION_SERVICE, Reflection
from server.rpc.server import Loop, Server
from server.rpc.tls import Certificates
from server.rpc.tokens import Tokens
from server.settings import IMAGE_BYTES, Settings
from server.versions.registry import Registry
from server.versions.shadow import Shadows

if TYPE_CHECKING:
    from server.observability.capture import Capture

SERVICES = (PREDICTION_SERVICE, INFERENCE_SERVICE)
# The largest pixel on the wire: FP64 of the Open Inference Protocol.
PIXEL_BYTES = 8
# Size of a request without its images.
MESSAGE_MARGIN_BYTES = 64 * 1024
MOST_MESSAGE_BYTES = 2**31 - 1  # a C int
# When gRPC shuts down, it cancels calls that it has read but not handed over. So answers are held
# back briefly before the shutdown, until waiting callers have no more calls on the way.
HOLD_SECONDS = 0.2
MOST_HOLD_SECONDS = 0.6
# Calls cancelled at the end of the grace period end almost at once.
CANCEL_SECONDS = 1.0


class DataPlane:
    """Serves calls on the thread that calls `run` and `stop`."""

    def __init__(
        self, settings: Settings, registry: Registry, metrics: Metrics, tracing: Tracing | None = None
    ) -> None:
        """Build the services; ports are bound by `listen`.

        Raises:
            StartError: the token file or a TLS file cannot be used, the limit on open files is too small, or
                the installed grpcio lacks a part of cygrpc that is used.

        """
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._loop = Loop(metrics.tick)
        self.health = Health(service.full_name for service in SERVICES)
        certificates = Certificates.of(settings)
        self._credentials = None if certificates is None else certificates.credentials()
        max_message_bytes = settings.max_request_images * IMAGE_BYTES * PIXEL_BYTES + MESSAGE_MARGIN_BYTES
        max_message_bytes = min(max_message_bytes, MOST_MESSAGE_BYTES)
        self._arguments = channel_arguments(settings, max_message_bytes)
        self._handler = self._serving_handler(tracing)
        self._health_handler = self._handler_of(tracing)
        self._servers: list[Server] = []
        self._shadows = Shadows(metrics, self._loop.idle_work)
        self._capture: Capture | None = None
        if settings.capture_dir is not None:
            from server.observability import capture  # noqa: PLC0415 - its library of pictures costs memory

            options = settings.capture_dir, settings.capture_below, settings.capture_max_mb
            self._capture = capture.Capture(*options, metrics.store)
        registry.on_change = lambda: self._loop.call_soon(self._look)

    def _handler_of(self, tracing: Tracing | None) -> Handler:
        """Build a handler with the health service."""
        settings = self._settings
        handler = Handler(
            self._metrics,
            AccessLog(settings.slow_call_seconds),
            tracing,
            self._loop.call_soon,
            max_calls=settings.max_pending_calls,
            max_inflight_bytes=settings.max_inflight_bytes,
            tokens=None if settings.token_file is None else Tokens(settings.token_file),
        )
        handler.add(HEALTH_SERVICE, self.health, limited=False)
        return handler

    def _serving_handler(self, tracing: Tracing | None) -> Handler:
        """Build the handler with all services."""
        registry, most = self._registry, self._settings.max_request_images
        handler = self._handler_of(tracing)
        handler.add(PREDICTION_SERVICE, PredictionService(registry, most))
        largest = self._settings.max_picture_bytes
        pictures = Pictures(largest, self._loop.call_soon) if largest else None
        inference = InferenceService(registry, self._metrics, most, lambda: self.health.serving, pictures)
        handler.add(INFERENCE_SERVICE, inference)
        names = (*(service.full_name for service in SERVICES), HEALTH_SERVICE.full_name)
        reflection = Reflection(names, (*(service.file for service in SERVICES), health_pb2.DESCRIPTOR))
        for name in REFLECTION_NAMES:
            handler.add(REFLECTION_SERVICE, reflection, limited=False, name=name)
        return handler

    def batcher(self, model: Model) -> Batcher:
        """Return a batcher for a model; on a GPU, one with a thread of its own."""
        metrics = self._metrics.loaded(model.name, model.version)
        kind = partial(Batcher, ready=self._loop.ready) if model.provider == "cpu" else ThreadedBatcher
        batcher = kind(
            model,
            metrics,
            max_batch_images=model.batch_images,
            max_queue_images=self._settings.max_queue_images,
        )
        if self._capture is not None:
            batcher.observers = (self._capture.of(model.name, model.version),)
        return batcher

    def listen(
        self, addresses: Sequence[str], health_addresses: Sequence[str] = (), *, shared: bool = False
    ) -> tuple[int, int | None]:
        """Bind addresses as gRPC writes them, and accept calls, to be answered by `run`.

        Return the port of the services, and the health port if it has addresses. `shared` lets other
        processes bind the same ports.

        Raises:
            StartError: an address cannot be bound.

        """
        sharing = ("grpc.so_reuseport", int(shared))
        server = Server(self._loop, self._handler.accept, [*self._arguments, sharing])
        grpc_port = self._bind(server, "gRPC", addresses, self._credentials)
        health_port = None
        if health_addresses:
            # In plaintext: kubelet's probes do not support mutual TLS.
            server = Server(self._loop, self._health_handler.accept, [sharing])
            health_port = self._bind(server, "health", health_addresses, None)
        for server in self._servers:
            server.start()
        return grpc_port, health_port

    def _bind(
        self, server: Server, name: str, addresses: Sequence[str], credentials: ServerCredentials | None
    ) -> int:
        ports = [server.listen(address, credentials) for address in addresses]
        for address, port in zip(addresses, ports, strict=True):
            if not port:
                raise StartError(f"{name} address {address} cannot be bound, is another server using it?")
        self._servers.append(server)
        return ports[0]

    def call_soon(self, function: Callable[[], None]) -> None:
        """Call `function` on the data plane's thread within 0.1 s; thread-safe."""
        self._loop.call_soon(function)

    def run(self, until: Callable[[], bool]) -> None:
        """Answer calls until `until()`, which is called at each event and every 0.1 s."""
        self._loop.run(until)

    def run_for(self, seconds: float) -> None:
        """Answer calls for `seconds`."""
        end = time.monotonic() + seconds
        self._loop.run(lambda: time.monotonic() >= end)

    def stop(self, grace_seconds: float) -> None:
        """Refuse new calls, finish those in flight within `grace_seconds`, and cancel the rest."""
        self._hold()
        self._registry.refuse()
        for handler in (self._handler, self._health_handler):
            handler.close_streams()
        for batcher in self._registry.batchers.values():
            batcher.release()
        for server in self._servers:
            server.shut_down()
        self._finish(grace_seconds)
        for server in self._servers:
            server.cancel_calls()
        self._finish(CANCEL_SECONDS)
        if self._capture is not None:
            self._capture.close()
        self._metrics.flush()

    def _finish(self, seconds: float) -> None:
        """Answer calls until all have ended, for at most `seconds`."""
        end = time.monotonic() + seconds
        self._loop.run(lambda: all(server.stopped for server in self._servers) or time.monotonic() >= end)

    def _hold(self) -> None:
        """Hold answers back until no more calls arrive, or for at most MOST_HOLD_SECONDS."""
        registry = self._registry
        for batcher in registry.batchers.values():
            batcher.hold()
        for _ in range(round(MOST_HOLD_SECONDS / HOLD_SECONDS)):
            held = registry.inflight_images
            self.run_for(HOLD_SECONDS)
            if registry.inflight_images == held:
                return

    def _look(self) -> None:
        """Update health and shadows after a change of the registry."""
        self.health.update(self._registry.ready, self._registry.states)
        self._shadows.follow(self._registry.models.values())
