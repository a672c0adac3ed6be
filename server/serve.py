"""The life of a server: start, serve, stop; the stop is the start in reverse."""

import asyncio
import os
import signal
import time
from collections.abc import Callable, Mapping

import grpc
import structlog
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_health.v1 import health, health_pb2
from grpc_reflection.v1alpha import reflection, reflection_pb2

from protos.digits.v1 import prediction_pb2
from server import connections, diagnosis, trace
from server.admission import Admission
from server.call_log import CallLog
from server.calls import Observers, service_handler
from server.endpoint import Endpoint, listening
from server.guests import add_guest
from server.health_service import Health
from server.inference_service import INFERENCE_SERVICE, InferenceService
from server.log import toggle_debug
from server.manifest import IMAGE_BYTES
from server.metrics import Metrics, worker_metrics
from server.models import Models
from server.news import News
from server.ports import Ports, bind
from server.service import PredictionService
from server.settings import Settings
from server.signals import answer_signals, stop_signal
from server.tls import Certificates
from server.tokens import Tokens
from server.tuning import Tuning
from server.watcher import Watcher

PREDICTION_SERVICE = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"]
HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"]
REFLECTION_SERVICE = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
SERVICES = (PREDICTION_SERVICE, INFERENCE_SERVICE)
# The most that a pixel takes on the wire: FP32 of the Open Inference Protocol.
PIXEL_BYTES = 4
# What a request may weigh beside its images.
MESSAGE_MARGIN_BYTES = 64 * 1024
# gRPC kills calls that it has read and not handed over yet when it stops, and their callers see CANCELLED. So
# answers are held back for a moment, in which callers that wait for theirs call no more, before it stops;
# by then its connections have told their clients to go elsewhere.
HOLD_SECONDS = 0.2
MOST_HOLD_SECONDS = 0.6

log = structlog.get_logger()


async def serve(settings: Settings, news: News) -> None:
    """Run a server in this process until SIGTERM or SIGINT.

    Raises:
        StartError: a port is taken, or the repository has nothing that may serve.

    """
    started = time.monotonic()
    answering = Answering(settings, {})
    worker_metrics(answering.metrics.registry)[0].set(1)
    endpoint = Endpoint(
        answering.metrics.registry,
        news,
        live=lambda: answering.models.alive,
        ready=lambda: answering.statuses.serving,
        refresh=answering.metrics.flush,
    )
    metrics_host = settings.metrics_host or settings.host
    with listening(endpoint, metrics_host, settings.metrics_port) as metrics_port:

        def ready(ports: Ports) -> None:
            log.info(
                "ready",
                **ports.facts,
                metrics_port=metrics_port,
                models=list(answering.models.states),
                seconds=round(time.monotonic() - started, 2),
            )

        await answering.run(stop_signal(), ready)
    log.info("stopped")


class Answering:
    """A process that answers calls: by itself, or as one of several workers."""

    def __init__(self, settings: Settings, tunings: Mapping[str, Tuning]) -> None:
        self._settings = settings
        self.metrics = Metrics()
        self.statuses = Health(service.full_name for service in SERVICES)
        self.models = Models(settings.default_model, self.metrics, changed=self._models_changed)
        self._tracing = trace.start(os.environ)
        self._watcher = Watcher(settings, self.models, self.metrics, tunings)

    @property
    def tunings(self) -> Mapping[str, Tuning]:
        """What was measured for each model."""
        return self._watcher.tunings

    def _models_changed(self) -> None:
        self.statuses.update(self.models.ready, self.models.states)

    async def run(
        self,
        stop: asyncio.Future[signal.Signals],
        ready: Callable[[Ports], None],
        *,
        shared: Ports | None = None,
        turn_seconds: float = 0.0,
    ) -> None:
        """Start, call `ready` with the ports, answer until `stop`, stop; `turn_seconds` after those that share the ports.

        Raises:
            StartError: a port is taken, a file of TLS cannot be used, or the repository has nothing that may
                serve.

        """
        settings, models, statuses = self._settings, self.models, self.statuses
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGHUP, self._watcher.wake)
        answer_signals(
            {
                signal.SIGUSR1: lambda: diagnosis.write(loop, models.queues),
                signal.SIGUSR2: toggle_debug,
            }
        )

        self.metrics.sample()

        # Start: listen, so that probes get an answer; load and prove the models; turn healthy. A worker loads
        # first: connections to the port that it shares would come to it while others could answer them.
        if shared is not None:
            await self._watcher.start()
        server, grpc_port = self._listen(shared)
        probed, health_port = self._listen_for_probes(shared)
        await server.start()
        if probed is not None:
            await probed.start()
        try:
            if shared is None:
                await self._watcher.start()
            models.open()
            ready(Ports(grpc_port, health_port))
            received = await stop

            # Stop: tell everyone, keep answering while they notice, finish what is in flight.
            log.info("draining", signal=received.name, inflight_images=models.inflight_images)
            statuses.drain()
            await self._watcher.close()
            if received == signal.SIGTERM:
                await asyncio.sleep(settings.drain_seconds)
            await asyncio.sleep(turn_seconds)
            await self._hold()
        finally:
            statuses.close()
            stopping = asyncio.create_task(server.stop(settings.grace_seconds))
            await asyncio.sleep(0)  # it has begun
            models.refuse()
            await stopping
            if probed is not None:
                await probed.stop(None)
            await models.close()
            self.metrics.flush()
            if self._tracing:
                await asyncio.to_thread(self._tracing.close)

    async def _hold(self) -> None:
        """Hold answers back until no more calls come, or for a while where callers do not wait for answers."""
        self.models.hold()
        for _ in range(round(MOST_HOLD_SECONDS / HOLD_SECONDS)):
            held = self.models.inflight_images
            await asyncio.sleep(HOLD_SECONDS)
            if self.models.inflight_images == held:
                return

    def _listen(self, shared: Ports | None) -> tuple[grpc.aio.Server, int]:
        settings = self._settings
        certificates = Certificates.of(settings)
        server = grpc.aio.server(
            options=[
                *connections.options(settings),
                (
                    "grpc.max_receive_message_length",
                    settings.max_request_images * IMAGE_BYTES * PIXEL_BYTES + MESSAGE_MARGIN_BYTES,
                ),
                *_sharing(shared),
            ]
        )
        admission = Admission(
            self.metrics,
            max_calls=settings.max_calls,
            max_inflight_bytes=settings.max_inflight_bytes,
            tokens=None if settings.token_file is None else Tokens(settings.token_file),
        )
        prediction = PredictionService(self.models, settings.max_request_images)
        inference = InferenceService(
            self.models, settings.max_request_images, ready=lambda: self.statuses.serving
        )
        observers = Observers(
            self.metrics,
            CallLog(sample=settings.access_log_sample, slow_seconds=settings.slow_call_seconds),
            self._tracing,
        )
        for service, servicer in zip(SERVICES, (prediction, inference), strict=True):
            server.add_generic_rpc_handlers((service_handler(service, servicer, observers, admission),))
        described = (
            *(service.full_name for service in SERVICES),
            health.SERVICE_NAME,
            reflection.SERVICE_NAME,
        )
        tell = reflection.aio.ReflectionServicer(described, _described_files())
        # Probes are answered under overload.
        add_guest(server, HEALTH_SERVICE, self.statuses, apart=["Check"])
        add_guest(server, REFLECTION_SERVICE, tell)
        port = settings.grpc_port if shared is None else shared.grpc
        credentials = None if certificates is None else certificates.credentials()
        return server, bind(server, "gRPC", settings.host, port, credentials)

    def _listen_for_probes(self, shared: Ports | None) -> tuple[grpc.aio.Server | None, int | None]:
        """Make a server of health alone, in plaintext: kubelet's probes cannot do mutual TLS."""
        port = self._settings.health_port if shared is None else shared.health
        if port is None:
            return None, None
        server = grpc.aio.server(options=_sharing(shared))
        add_guest(server, HEALTH_SERVICE, self.statuses)
        return server, bind(server, "health", self._settings.host, port, None)


def _sharing(shared: Ports | None) -> list[tuple[str, int]]:
    # Two servers must not share a port by accident; workers of one do.
    return [("grpc.so_reuseport", int(shared is not None))]


def _described_files() -> DescriptorPool:
    """Gather what reflection tells about; the messages of the two services live in different pools."""
    pool = DescriptorPool()
    for file in (
        *(service.file for service in SERVICES),
        health_pb2.DESCRIPTOR,
        reflection_pb2.DESCRIPTOR,
    ):
        pool.AddSerializedFile(file.serialized_pb)
    return pool
