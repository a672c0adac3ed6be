"""The digits.v1 protocol: requests from arrays, validated answers."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, TypedDict

import grpc
import numpy as np
from grpc_health.v1 import health_pb2
from numpy.typing import NDArray

from clients.errors import ServerError
from protos.digits.v1 import prediction_pb2

_SERVICE = "/digits.v1.PredictionService/"
GET_MODEL, LIST_MODELS = _SERVICE + "GetModel", _SERVICE + "ListModels"
CHECK, WATCH = "/grpc.health.v1.Health/Check", "/grpc.health.v1.Health/Watch"
DIGITS = 10

Health = Literal["ready", "not ready", "unknown", "gone"]
"""`unknown`: the server has no such service. `gone`: no server answers."""


@dataclass(frozen=True, slots=True)
class Timing:
    """Durations of the call that carried an image.

    `queue_seconds` and `compute_seconds` are measured by the server; `call_seconds` is the round trip.
    `batch_images` is the number of images in the batch.
    """

    queue_seconds: float
    compute_seconds: float
    call_seconds: float
    batch_images: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """The prediction for one image.

    `confidence` is the probability of `digit`, 0-1; `probabilities` holds all ten if the caller asked
    for them, else None.
    """

    digit: int
    confidence: float
    probabilities: tuple[float, ...] | None
    model: str
    version: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A version of a model.

    `state` is `serving`, `refused` (`reason` says why) or `available`; `accuracy` is on held-out
    data, 0-1; `created` is RFC 3339; `labels` point at the version; `share` (0-1) is its part of the requests
    that name neither version nor label.
    """

    name: str
    version: int
    state: str
    reason: str
    sha256: str
    accuracy: float
    provider: str
    recipe: str
    created: str
    labels: tuple[str, ...]
    share: float


class Options(TypedDict, total=False):
    """The keyword arguments of every prediction, see Question."""

    probabilities: bool
    model: str
    version: int
    label: str


@dataclass(frozen=True, kw_only=True)
class Question:
    """The model that a call asks, and whether for all ten probabilities.

    An empty `model` is the server's default; `version` 0 and an empty `label` leave the version
    to the server. At most one of the two may be set.
    """

    probabilities: bool = False
    model: str = ""
    version: int = 0
    label: str = ""


@dataclass(frozen=True, slots=True)
class Wire:
    """A protocol: its methods, encoding of requests, decoding of responses.

    `request` takes a Question and images, uint8 (n, 784); `predictions` takes the response, the
    Question, n, the round trip in seconds and the server's address, and raises ServerError
    (DATA_LOSS) for an answer that cannot be true. `count` is the number of digits in a response.
    """

    method: str
    response: type[Any]
    request: Callable[[Question, NDArray[np.uint8]], Any]
    predictions: Callable[..., list[Prediction]]
    count: Callable[[Any], int]


def serialize(message: Any) -> bytes:
    """Serialize any protobuf message."""
    content: bytes = message.SerializeToString()
    return content


def health(response: health_pb2.HealthCheckResponse) -> Health:
    """Read an answer of grpc.health.v1."""
    status = health_pb2.HealthCheckResponse
    if response.status == status.SERVING:
        return "ready"
    return "unknown" if response.status == status.SERVICE_UNKNOWN else "not ready"


def model_info(model: prediction_pb2.Model) -> ModelInfo:
    """Read the server's description of a model version."""
    state = prediction_pb2.Model.State.Name(model.state).removeprefix("STATE_").lower()
    same = ("name", "version", "reason", "sha256", "accuracy", "provider", "recipe", "created", "share")
    fields = {name: getattr(model, name) for name in same}
    return ModelInfo(state=state, labels=tuple(model.labels), **fields)


def _request(question: Question, images: NDArray[np.uint8]) -> prediction_pb2.PredictRequest:
    return prediction_pb2.PredictRequest(
        images=images.tobytes(),
        include_probabilities=question.probabilities,
        model=question.model,
        version=question.version,
        label=question.label,
    )


def _predictions(
    response: prediction_pb2.PredictResponse,
    question: Question,
    images: int,
    *,
    call_seconds: float,
    address: str,
) -> list[Prediction]:
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
    _SERVICE + "Predict",
    prediction_pb2.PredictResponse,
    _request,
    _predictions,
    lambda response: len(response.digits),
)
