"""`digits.v1.PredictionService`: bytes to images, answers to messages."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator

import numpy as np

from protos.digits.v1 import prediction_pb2 as pb
from server.calls import Context, answered, remaining_seconds
from server.errors import InvalidRequestError
from server.manifest import IMAGE_BYTES
from server.models import Models
from server.queued import Answer
from server.roster import Serving
from server.streams import answer_in_order


def _response(request: pb.PredictRequest, serving: Serving, answer: Answer) -> pb.PredictResponse:
    response = pb.PredictResponse(
        digits=answer.digits,
        confidences=answer.confidences,
        model=serving.model.name,
        version=serving.model.version,
        timing=pb.Timing(
            queue_us=round(answer.queue_seconds * 1e6),
            compute_us=round(answer.compute_seconds * 1e6),
            batch_images=answer.batch_images,
        ),
    )
    if request.include_probabilities:
        response.probabilities.extend(np.concatenate(answer.probabilities).ravel().tolist())
    return response


class PredictionService:
    """A thin translation of the wire messages onto the batchers."""

    def __init__(self, models: Models, max_request_images: int) -> None:
        self._models = models
        self._max_request_images = max_request_images

    async def Predict(self, request: pb.PredictRequest, context: Context) -> pb.PredictResponse:
        """Answer N images, in order."""
        serving, future = self._submit(request, context)
        answer = await future
        answered.set(answer)
        return _response(request, serving, answer)

    async def PredictStream(self, requests: AsyncIterator[pb.PredictRequest], context: Context) -> None:
        """Answer each request as Predict does, in order."""
        serving: deque[Serving] = deque()  # of the requests under way

        def begin(request: pb.PredictRequest) -> asyncio.Future[Answer]:
            model, future = self._submit(request, context)
            serving.append(model)
            return future

        def finish(request: pb.PredictRequest, answer: Answer) -> pb.PredictResponse:
            return _response(request, serving.popleft(), answer)

        await answer_in_order(requests, context, begin, finish, self._models.refusing)

    def _submit(self, request: pb.PredictRequest, context: Context) -> tuple[Serving, asyncio.Future[Answer]]:
        images = request.images
        count = self._count(len(images))
        serving = self._models.find(request.model, request.version, request.label)
        return serving, serving.batcher.submit(images, count, remaining_seconds=remaining_seconds(context))

    async def GetModel(self, request: pb.GetModelRequest, _: Context) -> pb.Model:
        """Describe the version of a model that answers requests that leave the choice to the server."""
        roster = self._models.roster(request.model)
        return roster.describe_one(roster.settled())

    async def ListModels(self, _: pb.ListModelsRequest, __: Context) -> pb.ListModelsResponse:
        """Describe every version of every model."""
        return pb.ListModelsResponse(models=self._models.describe())

    def _count(self, size_bytes: int) -> int:
        """Return how many images are in `size_bytes` bytes."""
        count, rest = divmod(size_bytes, IMAGE_BYTES)
        if rest:
            expected = f"expected a multiple of {IMAGE_BYTES} (28 x 28)"
            raise InvalidRequestError(f"images has {size_bytes} bytes, {expected}")
        if count == 0:
            raise InvalidRequestError(f"images is empty, expected at least one image of {IMAGE_BYTES} bytes")
        if count > self._max_request_images:
            raise InvalidRequestError(
                f"images has {count} images, expected at most {self._max_request_images}"
            )
        return count
