"""The life of a server: start, serve, stop; the stop is the start in reverse."""

import asyncio
import signal
import time

import grpc
import structlog
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from protos.digits.v1 import prediction_pb2
from server.calls import service_handler
from server.endpoint import Endpoint, listening
from server.errors import StartError
from server.health_service import Health
from server.inference_service import INFERENCE_SERVICE, InferenceService
from server.manifest import IMAGE_BYTES
from server.metrics import Metrics
from server.models import Models
from server.service import PredictionService
from server.settings import Settings
from server.watcher import Watcher

PREDICTION_SERVICE = prediction_pb2.DESCRIPTOR.services_by_name["PredictionService"]
SERVICES = (PREDICTION_SERVICE, INFERENCE_SERVICE)
# The most that a pixel takes on the wire: FP32 of the Open Inference Protocol.
PIXEL_BYTES = 4
# What a request may weigh beside its images.
MESSAGE_MARGIN_BYTES = 64 * 1024
# gRPC kills calls that it has read and not handed over yet when it stops, and their callers see CANCELLED.
# So new calls are first refused with UNAVAILABLE, which clients retry elsewhere, and then the port closes.
REFUSE_SECONDS = 0.2

log = structlog.get_logger()


async def serve(settings: Settings) -> None:
    """Run a server until SIGTERM or SIGINT.

    Raises:
        StartError: a port is taken, or the repository has nothing that may serve.

    """
    started = time.monotonic()
    stop = _stop_signal()
    metrics = Metrics()
    statuses = Health(service.full_name for service in SERVICES)
    models = Models(
        settings.default_model, metrics, changed=lambda: statuses.update(models.ready, models.states)
    )
    watcher = Watcher(settings, models, metrics)
    asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, watcher.wake)
    endpoint = Endpoint(metrics, live=lambda: models.alive, ready=lambda: statuses.serving)
    with listening(endpoint, settings.host, settings.metrics_port) as metrics_port:
        # Start: listen, so that probes get an answer; load and prove the models; turn healthy.
        server, grpc_port = _grpc_server(settings, models, statuses, metrics)
        await server.start()
        try:
            await watcher.start()
            models.open()
            log.info(
                "ready",
                grpc_port=grpc_port,
                metrics_port=metrics_port,
                models=list(models.states),
                seconds=round(time.monotonic() - started, 2),
            )
            received = await stop

            # Stop: tell everyone, keep answering while they notice, finish what is in flight.
            log.info("draining", signal=received.name, inflight_images=models.inflight_images)
            statuses.drain()
            await watcher.close()
            if received == signal.SIGTERM:
                await asyncio.sleep(settings.drain_seconds)
            models.refuse()
            await asyncio.sleep(REFUSE_SECONDS)
        finally:
            statuses.close()
            await server.stop(settings.grace_seconds)
            await models.close()
            metrics.flush()
    log.info("stopped")


def _grpc_server(
    settings: Settings, models: Models, statuses: Health, metrics: Metrics
) -> tuple[grpc.aio.Server, int]:
    server = grpc.aio.server(
        options=[
            (
                "grpc.max_receive_message_length",
                settings.max_request_images * IMAGE_BYTES * PIXEL_BYTES + MESSAGE_MARGIN_BYTES,
            ),
            # Two servers must not share a port by accident.
            ("grpc.so_reuseport", 0),
        ]
    )
    prediction = PredictionService(models, settings.max_request_images)
    inference = InferenceService(models, settings.max_request_images, ready=lambda: statuses.serving)
    for service, servicer in zip(SERVICES, (prediction, inference), strict=True):
        server.add_generic_rpc_handlers((service_handler(service, servicer, metrics),))
    health_pb2_grpc.add_HealthServicer_to_server(statuses, server)
    reflection.enable_server_reflection(
        (*(service.full_name for service in SERVICES), health.SERVICE_NAME, reflection.SERVICE_NAME), server
    )
    try:
        return server, server.add_insecure_port(f"{settings.host}:{settings.grpc_port}")
    except RuntimeError:
        raise StartError(
            f"gRPC port {settings.grpc_port} on {settings.host} cannot be bound, is another server using it?"
        ) from None


def _stop_signal() -> asyncio.Future[signal.Signals]:
    """Return a future of the first SIGTERM or SIGINT; a second one ends the process at once."""
    loop = asyncio.get_running_loop()
    stop: asyncio.Future[signal.Signals] = loop.create_future()

    def received(signum: signal.Signals) -> None:
        stop.set_result(signum)
        for each in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(each)
            signal.signal(each, signal.SIG_DFL)

    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, received, signum)
    return stop
