"""`inference.GRPCInferenceService`, the Open Inference Protocol: another translation onto the batchers."""

from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import numpy as np
import structlog

from protos import inference_pb2 as pb
from server.batching.call_queue import Answer
from server.errors import NotFoundError, ServingError, UnavailableError
from server.model.manifest import CLASSES
from server.model.session import INPUT, OUTPUT
from server.rpc import tensors
from server.rpc.call import Request
from server.rpc.handler import INTERNAL_MESSAGE
from server.settings import IMAGE_BYTES
from server.versions.registry import Registry
from server.versions.served_model import ServedModel, Serving

INFERENCE_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# The name that the protocol's other servers give to ONNX graphs on ONNX Runtime.
PLATFORM = "onnxruntime_onnx"
# Of an int64; more digits are no version's number.
MAX_VERSION_DIGITS = 18

log = structlog.get_logger()


class InferenceService:
    """A thin translation of the protocol's messages onto the batchers."""

    def __init__(self, registry: Registry, max_request_images: int, ready: Callable[[], bool]) -> None:
        self._registry = registry
        self._max_request_images = max_request_images
        self._ready = ready

    def ServerLive(self, _: pb.ServerLiveRequest, __: Request) -> pb.ServerLiveResponse:
        """Tell whether the batchers run."""
        return pb.ServerLiveResponse(live=self._registry.alive)

    def ServerReady(self, _: pb.ServerReadyRequest, __: Request) -> pb.ServerReadyResponse:
        """Tell what health tells of the server as a whole."""
        return pb.ServerReadyResponse(ready=self._ready())

    def ModelReady(self, request: pb.ModelReadyRequest, _: Request) -> pb.ModelReadyResponse:
        """Tell whether a model, or one version or label of it, would answer; unknown ones are not ready."""
        try:
            self._described(request.name, request.version)
        except (NotFoundError, UnavailableError):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Request) -> pb.ServerMetadataResponse:
        """Name the server."""
        return pb.ServerMetadataResponse(
            name="digit-server", version=version("digit-serving"), extensions=["classification"]
        )

    def ModelMetadata(self, request: pb.ModelMetadataRequest, _: Request) -> pb.ModelMetadataResponse:
        """Describe a model's tensors, and in `properties` where the version comes from."""
        served, serving = self._described(request.name, request.version)
        model, manifest = serving.model, serving.model.manifest
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(version) for version in reversed(served.versions)],
            platform=PLATFORM,
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

    def ModelInfer(self, request: pb.ModelInferRequest, call: Request) -> None:
        """Answer N images, in order.

        `model_version` is a version's number or a label. Answered raw when asked raw.
        """
        asked = tensors.question(request, self._max_request_images)
        serving = self._registry.find(request.model_name, *_reference(request.model_version))

        def response(answer: Answer) -> pb.ModelInferResponse:
            model = serving.model
            message = pb.ModelInferResponse(
                model_name=model.name, model_version=str(model.version), id=request.id
            )
            tensors.answer(asked, np.concatenate(answer.probabilities), message)
            return message

        call.queued = serving.batcher.submit(
            asked.images, asked.count, call.deadline, call.answering(response), call.trace
        )

    def ModelStreamInfer(self, request: pb.ModelInferRequest, call: Request) -> None:
        """Answer a stream of ModelInfer requests in order; one that fails gets its error and no more."""
        streamed = _StreamedRequest(request.id, call)
        try:
            self.ModelInfer(request, streamed)
        except Exception as error:  # noqa: BLE001 - logged, and answered
            streamed.fail(error)
        call.queued, streamed.queued = streamed.queued, None

    def _described(self, name: str, version: str) -> tuple[ServedModel, Serving]:
        """Return what a question about a model is about; questions are no part of the canary's share."""
        served = self._registry.model(name)
        return served, served.named(*_reference(version)) if version else served.settled()


class _StreamedRequest(Request):
    """A request of ModelStreamInfer: its answer and its error are messages of the stream."""

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
        # The id tells which request failed.
        self._call.reply(
            pb.ModelStreamInferResponse(
                error_message=details, infer_response=pb.ModelInferResponse(id=self._id)
            )
        )


def _reference(text: str) -> tuple[int, str]:
    """Read a version as the protocol writes it: a number, or one of our labels."""
    if text.isascii() and text.isdigit() and len(text) <= MAX_VERSION_DIGITS and int(text):
        return int(text), ""
    return 0, text
