"""`inference.GRPCInferenceService`, the Open Inference Protocol."""

import time
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import structlog
from google.protobuf.message import Message

from protos import inference_pb2 as pb
from server.batching.call_queue import Answer
from server.errors import InvalidRequestError, NotFoundError, ServingError, UnavailableError
from server.model.manifest import CLASSES
from server.model.session import INPUT, OUTPUT
from server.observability.metrics import Metrics
from server.rpc import tensors, triton
from server.rpc.call import Request
from server.rpc.handler import INTERNAL_MESSAGE
from server.rpc.pictures import Pictures
from server.settings import IMAGE_BYTES
from server.versions.registry import Registry
from server.versions.repository import MAX_DIGITS
from server.versions.served_model import ServedModel, Serving

INFERENCE_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]

NO_LOADING = (
    "the repository decides which versions serve: publish, promote or withdraw a version there, "
    "and the server follows; its setting model_control lets callers load and unload models"
)

log = structlog.get_logger()


class InferenceService:
    """Translates the protocol's messages for the batchers."""

    def __init__(
        self,
        registry: Registry,
        metrics: Metrics,
        max_request_images: int,
        ready: Callable[[], bool],
        pictures: Pictures | None = None,
    ) -> None:
        self._registry = registry
        self._metrics = metrics
        self._max_request_images = max_request_images
        self._ready = ready
        self._pictures = pictures

    def ServerLive(self, _: pb.ServerLiveRequest, __: Request) -> pb.ServerLiveResponse:
        """Tell whether the batchers run."""
        return pb.ServerLiveResponse(live=self._registry.alive)

    def ServerReady(self, _: pb.ServerReadyRequest, __: Request) -> pb.ServerReadyResponse:
        """Tell whether the server is ready, as its health does."""
        return pb.ServerReadyResponse(ready=self._ready())

    def ModelReady(self, request: pb.ModelReadyRequest, _: Request) -> pb.ModelReadyResponse:
        """Tell whether a model, version or label can answer; unknown ones are not ready."""
        try:
            self._described(request.name, request.version)
        except (NotFoundError, UnavailableError):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Request) -> pb.ServerMetadataResponse:
        """Return the server's name, version and extensions."""
        return pb.ServerMetadataResponse(
            name="digit-server", version=version("digit-serving"), extensions=triton.EXTENSIONS
        )

    def ModelMetadata(self, request: pb.ModelMetadataRequest, _: Request) -> pb.ModelMetadataResponse:
        """Describe a model's tensors, and the version's origin in `properties`."""
        served, serving = self._described(request.name, request.version)
        model, manifest = serving.model, serving.model.manifest
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(version) for version in reversed(served.versions)],
            platform=triton.PLATFORM,
            inputs=[tensor(name=INPUT, datatype="UINT8", shape=[-1, IMAGE_BYTES])],
            outputs=[tensor(name=OUTPUT, datatype="FP32", shape=[-1, CLASSES])],
            properties={
                "version": str(model.version),
                "sha256": model.sha256,
                "accuracy": str(model.graph.test_accuracy),
                "provider": model.provider,
                "precision": model.precision,
                "recipe": manifest.recipe,
                "created": manifest.created,
                "labels": ",".join(served.labels_of(serving)),
            },
        )

    def ModelConfig(self, request: pb.ModelConfigRequest, __: Request) -> pb.ModelConfigResponse:
        """Return Triton's configuration of a model."""
        _, serving = self._described(request.name, request.version)
        return pb.ModelConfigResponse(config=triton.configuration(serving, self._max_request_images))

    def ModelStatistics(self, request: pb.ModelStatisticsRequest, __: Request) -> pb.ModelStatisticsResponse:
        """Return statistics of the versions of one or all models, of this process."""
        if request.version:
            _, serving = self._described(request.name, request.version)
            servings = [serving]
        else:
            default = self._registry.model(request.name)
            models = [default] if request.name else self._registry.models.values()
            servings = [serving for served in models for serving in served.versions.values()]
        return pb.ModelStatisticsResponse(
            model_stats=[
                triton.statistics(each, self._metrics.statistics(each.model.name, each.model.version))
                for each in servings
            ]
        )

    def RepositoryIndex(self, request: pb.RepositoryIndexRequest, _: Request) -> pb.RepositoryIndexResponse:
        """List every version of every model."""
        self._registry.model("")  # raises UnavailableError while the server starts or stops
        return triton.index(self._registry.describe(), only_ready=request.ready)

    def RepositoryModelLoad(self, request: pb.RepositoryModelLoadRequest, call: Request) -> None:
        """Load a model from the repository, if `model_control` is set."""
        self._change(request.model_name, pb.RepositoryModelLoadResponse(), call, load=True)

    def RepositoryModelUnload(self, request: pb.RepositoryModelUnloadRequest, call: Request) -> None:
        """Unload a model until it is loaded again or the server restarts, if `model_control` is set."""
        self._change(request.model_name, pb.RepositoryModelUnloadResponse(), call, load=False)

    def _change(self, name: str, answer: Message, call: Request, *, load: bool) -> None:
        if self._registry.change_model is None:
            raise InvalidRequestError(NO_LOADING)

        def then(problem: str) -> None:
            if problem:
                call.fail(InvalidRequestError(problem))
            else:
                call.reply(answer)

        self._registry.change_model(name, load, then)

    def ModelInfer(self, request: pb.ModelInferRequest, call: Request) -> None:
        """Answer N images, in order.

        `model_version` is a version number or a label. The outputs are raw if the inputs are.
        """
        asked = tensors.question(request, self._max_request_images, pictures=self._pictures is not None)
        deadline = call.deadline
        if request.parameters:
            deadline = min(deadline, time.monotonic() + tensors.timeout_seconds(request))

        def submit(images: bytes) -> None:
            serving = self._registry.find(request.model_name, *_reference(request.model_version))

            def response(answer: Answer) -> pb.ModelInferResponse:
                model = serving.model
                message = pb.ModelInferResponse(
                    model_name=model.name, model_version=str(model.version), id=request.id
                )
                tensors.answer(asked, answer.probabilities, message)
                return message

            call.queued = serving.batcher.submit(
                images, asked.count, deadline, call.answering(response), call.trace
            )

        if self._pictures is None or not asked.pictures:
            submit(asked.images)
            return

        def decoded(images: bytes) -> None:
            try:
                submit(images)
            except Exception as error:  # noqa: BLE001 - logged, and answered
                call.fail(error)

        self._pictures.decode(asked.pictures, decoded, call.fail)

    def ModelStreamInfer(self, request: pb.ModelInferRequest, call: Request) -> None:
        """Answer a stream of ModelInfer requests in order; an error does not end the stream."""
        streamed = _StreamedRequest(request.id, call)
        try:
            self.ModelInfer(request, streamed)
        except Exception as error:  # noqa: BLE001 - logged, and answered
            streamed.fail(error)
        call.queued, streamed.queued = streamed.queued, None

    def _described(self, name: str, version: str) -> tuple[ServedModel, Serving]:
        """Return the version that a metadata request is about, without affecting the canary's share."""
        served = self._registry.model(name)
        return served, served.named(*_reference(version)) if version else served.settled()


class _StreamedRequest(Request):
    """A request of ModelStreamInfer; its answer or error is a message of the stream."""

    __slots__ = ("_call", "_id")

    def __init__(self, request_id: str, call: Request) -> None:
        super().__init__(call.deadline, call.trace)
        self._id = request_id
        self._call = call

    def reply(self, answer: Any, timing: Answer | None = None) -> None:
        self._call.reply(pb.ModelStreamInferResponse(infer_response=answer), timing)

    def fail(self, error: Exception) -> None:
        details = str(error)
        if not isinstance(error, ServingError):
            log.error("request failed", method="ModelStreamInfer", exc_info=error)
            details = INTERNAL_MESSAGE
        # The id identifies the failed request.
        self._call.reply(
            pb.ModelStreamInferResponse(
                error_message=details, infer_response=pb.ModelInferResponse(id=self._id)
            )
        )


def _reference(text: str) -> tuple[int, str]:
    """Parse a version: a number or a label."""
    if text.isascii() and text.isdigit() and len(text) <= MAX_DIGITS and int(text):
        return int(text), ""
    return 0, text
