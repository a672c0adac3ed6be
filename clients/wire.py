"""What travels: questions as protobuf, and answers that can be believed.

Pure functions between numpy and protobuf, shared by the clients that block and those that await.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
import numpy as np
from numpy.typing import NDArray

from clients.errors import ServerError
from clients.prediction import ModelInfo, Prediction, Timing
from protos.digits.v1 import prediction_pb2

PREDICT = "/digits.v1.PredictionService/Predict"
GET_MODEL = "/digits.v1.PredictionService/GetModel"
PREDICT_STREAM = "/digits.v1.PredictionService/PredictStream"
LIST_MODELS = "/digits.v1.PredictionService/ListModels"
DIGITS = 10


@dataclass(frozen=True, kw_only=True)
class Question:
    """Say what is asked about every image, and of which model.

    An empty `model` is the server's default; `version` 0 and an empty `label` leave the version
    to the server. At most one of the two may be set.
    """

    probabilities: bool = False
    model: str = ""
    version: int = 0
    label: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """Name the call of one protocol, how to write its request, and how to read its response.

    `request` takes a Question and images, uint8 (n, 784); `predictions` takes the response, the
    Question, n, the seconds that the call took and the server's address, and raises ServerError
    (DATA_LOSS) where the server lies; `answers` counts the digits in a response. `stream_method`
    answers many requests in order; empty where the protocol has none.
    """

    method: str
    stream_method: str
    response: type[Any]
    request: Callable[[Question, NDArray[np.uint8]], Any]
    predictions: Callable[..., list[Prediction]]
    answers: Callable[[Any], int]


def request(question: Question, images: NDArray[np.uint8]) -> prediction_pb2.PredictRequest:
    """Build the request for `images`, uint8 (n, 784)."""
    return prediction_pb2.PredictRequest(
        images=images.tobytes(),
        include_probabilities=question.probabilities,
        model=question.model,
        version=question.version,
        label=question.label,
    )


def predictions(
    response: prediction_pb2.PredictResponse,
    question: Question,
    images: int,
    *,
    call_seconds: float,
    address: str,
) -> list[Prediction]:
    """Read the answer for `images` images.

    Raises ServerError (DATA_LOSS) where the server at `address` lies.
    """
    if problem := _problem(response, question, images):
        raise ServerError(f"server {address} answered {problem}", grpc.StatusCode.DATA_LOSS)
    timing = Timing(
        queue_seconds=response.timing.queue_us / 1e6,
        compute_seconds=response.timing.compute_us / 1e6,
        call_seconds=call_seconds,
        batch_images=response.timing.batch_images,
    )
    rows = tuple(response.probabilities)
    model, version = response.model, response.version
    return [
        Prediction(
            digit=digit,
            confidence=confidence,
            probabilities=rows[i * DIGITS : (i + 1) * DIGITS] if rows else None,
            model=model,
            version=version,
            timing=timing,
        )
        for i, (digit, confidence) in enumerate(zip(response.digits, response.confidences, strict=True))
    ]


def serialize(message: Any) -> bytes:
    """Write any protobuf message."""
    content: bytes = message.SerializeToString()
    return content


def model_info(model: prediction_pb2.Model) -> ModelInfo:
    """Read the server's description of a model version."""
    state = prediction_pb2.Model.State.Name(model.state).removeprefix("STATE_").lower()
    return ModelInfo(
        name=model.name,
        version=model.version,
        state=state,
        reason=model.reason,
        sha256=model.sha256,
        accuracy=model.accuracy,
        provider=model.provider,
        recipe=model.recipe,
        created=model.created,
        labels=tuple(model.labels),
        share=model.share,
    )


def _problem(response: prediction_pb2.PredictResponse, question: Question, images: int) -> str | None:
    if len(response.digits) != images:
        return f"{len(response.digits)} digits for {images} images"
    if len(response.confidences) != images:
        return f"{len(response.confidences)} confidences for {images} images"
    expected = images * DIGITS if question.probabilities else 0
    if len(response.probabilities) != expected:
        return f"{len(response.probabilities)} probabilities, expected {expected}"
    if max(response.digits) >= DIGITS:
        return f"digit {max(response.digits)}, expected 0-9"
    if not all(map(math.isfinite, response.confidences)):
        return "a confidence that is not a number"
    return None


DIGITS_WIRE = Wire(
    PREDICT,
    PREDICT_STREAM,
    prediction_pb2.PredictResponse,
    request,
    predictions,
    lambda response: len(response.digits),
)
