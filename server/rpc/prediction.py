"""`digits.v1.PredictionService`."""

from protos.digits.v1 import prediction_pb2 as pb
from server.batching.call_queue import Answer
from server.errors import InvalidRequestError
from server.rpc.call import Request
from server.settings import IMAGE_BYTES
from server.versions.registry import Registry

PREDICTION_SERVICE = pb.DESCRIPTOR.services_by_name["PredictionService"]


class PredictionService:
    """Translates wire messages for the batchers."""

    def __init__(self, registry: Registry, max_request_images: int) -> None:
        self._registry = registry
        self._max_request_images = max_request_images

    def Predict(self, request: pb.PredictRequest, call: Request) -> None:
        """Answer N images, in order."""
        images = request.images
        count = self._count(len(images))
        serving = self._registry.find(request.model, request.version, request.label)
        model, with_probabilities = serving.model, request.include_probabilities

        def response(answer: Answer) -> pb.PredictResponse:
            message = pb.PredictResponse(
                digits=answer.digits,
                confidences=answer.confidences,
                model=model.name,
                version=model.version,
                timing=pb.Timing(
                    queue_us=round(answer.queue_seconds * 1e6),
                    compute_us=round(answer.compute_seconds * 1e6),
                    batch_images=answer.batch_images,
                ),
            )
            if with_probabilities:
                message.probabilities.extend(answer.probabilities.ravel().tolist())
            return message

        call.queued = serving.batcher.submit(
            images, count, call.deadline, call.answering(response), call.trace
        )

    # A request of a stream is answered like a unary call; the handler keeps the order.
    PredictStream = Predict

    def GetModel(self, request: pb.GetModelRequest, _: Request) -> pb.Model:
        """Describe the default version of a model."""
        model = self._registry.model(request.model)
        return model.describe_one(model.settled())

    def ListModels(self, _: pb.ListModelsRequest, __: Request) -> pb.ListModelsResponse:
        """Describe every version of every model."""
        return pb.ListModelsResponse(models=self._registry.describe())

    def _count(self, size_bytes: int) -> int:
        """Return the number of images in `size_bytes` bytes."""
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
