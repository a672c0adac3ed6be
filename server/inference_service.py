"""`inference.GRPCInferenceService`, the Open Inference Protocol: another translation onto the batchers."""

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

import numpy as np
import structlog

from protos import inference_pb2 as pb
from server import tensors
from server.calls import INTERNAL_MESSAGE, Context, answered, remaining_seconds
from server.errors import NotFoundError, ServingError, UnavailableError
from server.manifest import CLASSES, IMAGE_BYTES
from server.models import Models
from server.roster import Roster, Serving
from server.session import INPUT, OUTPUT
from server.streams import answer_in_order

INFERENCE_SERVICE = pb.DESCRIPTOR.services_by_name["GRPCInferenceService"]
# Requests of one stream that are under way together: enough for batches to form of one caller's images.
# The name that the protocol's other servers give to ONNX graphs on ONNX Runtime.
PLATFORM = "onnxruntime_onnx"

log = structlog.get_logger()


class InferenceService:
    """A thin translation of the protocol's messages onto the batchers."""

    def __init__(self, models: Models, max_request_images: int, ready: Callable[[], bool]) -> None:
        self._models = models
        self._max_request_images = max_request_images
        self._ready = ready

    async def ServerLive(self, _: pb.ServerLiveRequest, __: Context) -> pb.ServerLiveResponse:
        """Tell whether the batchers run."""
        return pb.ServerLiveResponse(live=self._models.alive)

    async def ServerReady(self, _: pb.ServerReadyRequest, __: Context) -> pb.ServerReadyResponse:
        """Tell what health tells of the server as a whole."""
        return pb.ServerReadyResponse(ready=self._ready())

    async def ModelReady(self, request: pb.ModelReadyRequest, _: Context) -> pb.ModelReadyResponse:
        """Tell whether a model, or one version or label of it, would answer; unknown ones are not ready."""
        try:
            self._described(request.name, request.version)
        except (NotFoundError, UnavailableError):
            return pb.ModelReadyResponse(ready=False)
        return pb.ModelReadyResponse(ready=True)

    async def ServerMetadata(self, _: pb.ServerMetadataRequest, __: Context) -> pb.ServerMetadataResponse:
        """Name the server."""
        return pb.ServerMetadataResponse(
            name="digit-server", version=version("digit-serving"), extensions=["classification"]
        )

    async def ModelMetadata(self, request: pb.ModelMetadataRequest, _: Context) -> pb.ModelMetadataResponse:
        """Describe a model's tensors, and in `properties` where the version comes from."""
        roster, serving = self._described(request.name, request.version)
        model, manifest = serving.model, serving.model.manifest
        tensor = pb.ModelMetadataResponse.TensorMetadata
        return pb.ModelMetadataResponse(
            name=model.name,
            versions=[str(version) for version in reversed(roster.versions)],
            platform=PLATFORM,
            inputs=[tensor(name=INPUT, datatype="UINT8", shape=[-1, IMAGE_BYTES])],
            outputs=[tensor(name=OUTPUT, datatype="FP32", shape=[-1, CLASSES])],
            properties={
                "version": str(model.version),
                "sha256": model.sha256,
                "accuracy": str(model.graph.test_accuracy),
                "provider": model.provider,
                "precision": model.graph.precision,
                "recipe": manifest.recipe,
                "created": manifest.created,
                "labels": ",".join(roster.labels_of(serving)),
            },
        )

    async def ModelInfer(self, request: pb.ModelInferRequest, context: Context) -> pb.ModelInferResponse:
        """Answer N images, in order.

        `model_version` is a version's number or a label. Answered raw when asked raw.
        """
        asked = tensors.question(request, self._max_request_images)
        serving = self._models.find(request.model_name, *_reference(request.model_version))
        answer = await serving.batcher.submit(
            asked.images, asked.count, remaining_seconds=remaining_seconds(context)
        )
        answered.set(answer)
        response = pb.ModelInferResponse(
            model_name=serving.model.name, model_version=str(serving.model.version), id=request.id
        )
        tensors.answer(asked, np.concatenate(answer.probabilities), response)
        return response

    async def ModelStreamInfer(self, requests: AsyncIterator[pb.ModelInferRequest], context: Context) -> None:
        """Answer a stream of ModelInfer requests in order; one that fails gets its error and no more."""

        async def one(request: pb.ModelInferRequest) -> pb.ModelStreamInferResponse:
            try:
                return pb.ModelStreamInferResponse(infer_response=await self.ModelInfer(request, context))
            except ServingError as error:
                message = str(error)
            except Exception:
                log.exception("request failed", method="ModelStreamInfer")
                message = INTERNAL_MESSAGE
            # The id tells which request failed.
            return pb.ModelStreamInferResponse(
                error_message=message, infer_response=pb.ModelInferResponse(id=request.id)
            )

        def begin(request: pb.ModelInferRequest) -> asyncio.Future[pb.ModelStreamInferResponse]:
            return asyncio.create_task(one(request))

        await answer_in_order(requests, context, begin, lambda _, response: response, self._models.refusing)

    def _described(self, name: str, version: str) -> tuple[Roster, Serving]:
        """Return what a question about a model is about; questions are no part of the canary's share."""
        roster = self._models.roster(name)
        return roster, roster.named(*_reference(version)) if version else roster.settled()


def _reference(text: str) -> tuple[int, str]:
    """Read a version as the protocol writes it: a number, or one of our labels."""
    if text.isascii() and text.isdigit() and int(text):
        return int(text), ""
    return 0, text
