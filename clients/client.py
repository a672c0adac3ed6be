"""The client that blocks."""

import time
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import chain
from types import TracebackType
from typing import Self

import grpc
import numpy as np
from grpc_health.v1 import health_pb2, health_pb2_grpc
from numpy.typing import NDArray

from clients.calls import Question, model_info
from clients.chunks import cut
from clients.connection import Connection
from clients.images import ImageLike, Images, pixels
from clients.prediction import ModelInfo, Prediction
from clients.status import server_error
from protos.digits.v1 import prediction_pb2, prediction_pb2_grpc


class Client:
    """Ask a digit server; one client serves any number of threads.

    `server` is HOST:PORT, or a Connection with all its settings. Calls carry up to
    `images_per_call` images, and `calls_in_flight` of them travel at the same time.
    Every method raises ServerError where the server gives no usable answer.
    """

    def __init__(
        self,
        server: str | Connection = "localhost:8500",
        *,
        images_per_call: int = 256,
        calls_in_flight: int = 4,
    ) -> None:
        self._connection = Connection(address=server) if isinstance(server, str) else server
        self._images_per_call = images_per_call
        self._calls_in_flight = calls_in_flight
        self._channel = self._connection.open()
        self._stub = prediction_pb2_grpc.PredictionServiceStub(self._channel)
        self._health = health_pb2_grpc.HealthStub(self._channel)

    def predict(
        self,
        images: Images,
        *,
        probabilities: bool = False,
        model: str = "",
        version: int = 0,
        label: str = "",
    ) -> list[Prediction]:
        """Predict the digit in each image, in order.

        `images` is a path, the bytes of a picture, a PIL image, an array of one or more images,
        or a list of these. Raises InputError for what is none of them.
        """
        question = Question(probabilities=probabilities, model=model, version=version, label=label)
        return list(chain.from_iterable(self._ask(question, [pixels(images)])))

    def stream(
        self,
        images: Iterable[ImageLike],
        *,
        probabilities: bool = False,
        model: str = "",
        version: int = 0,
        label: str = "",
    ) -> Iterator[Prediction]:
        """Predict an endless or very long sequence of images, in order and in constant memory.

        Reads ahead of what it yields by at most `calls_in_flight` x `images_per_call` images.
        """
        question = Question(probabilities=probabilities, model=model, version=version, label=label)
        for answers in self._ask(question, map(pixels, images)):
            yield from answers

    def models(self) -> list[ModelInfo]:
        """List every version of every model that the server knows."""
        try:
            response = self._stub.ListModels(
                prediction_pb2.ListModelsRequest(), timeout=self._connection.timeout_seconds
            )
        except grpc.RpcError as error:
            raise server_error(error, self._connection) from None
        return [model_info(model) for model in response.models]

    def ready(self, service: str = "") -> bool:
        """Say whether the server (or one service or model of it) is ready to answer."""
        try:
            response = self._health.Check(
                health_pb2.HealthCheckRequest(service=service), timeout=self._connection.timeout_seconds
            )
        except grpc.RpcError as error:
            raise server_error(error, self._connection) from None
        return bool(response.status == health_pb2.HealthCheckResponse.SERVING)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _ask(self, question: Question, parts: Iterable[NDArray[np.uint8]]) -> Iterator[list[Prediction]]:
        flying: deque[_Call] = deque()
        try:
            for images in cut(parts, self._images_per_call):
                flying.append(_Call(self._stub, question, images, self._connection))
                if len(flying) == self._calls_in_flight:
                    yield flying.popleft().answers()
            while flying:
                yield flying.popleft().answers()
        finally:
            for call in flying:
                call.cancel()


class _Call:
    """One Predict call in flight."""

    def __init__(
        self,
        stub: prediction_pb2_grpc.PredictionServiceStub,
        question: Question,
        images: NDArray[np.uint8],
        connection: Connection,
    ) -> None:
        self._question, self._images, self._connection = question, len(images), connection
        self._ended = self._started = time.perf_counter()
        self._future = stub.Predict.future(question.request(images), timeout=connection.timeout_seconds)
        # The answer may lie here for a while until its turn comes; that is not the call's time.
        self._future.add_done_callback(self._end)

    def _end(self, _: object) -> None:
        self._ended = time.perf_counter()

    def answers(self) -> list[Prediction]:
        try:
            response = self._future.result()
        except grpc.RpcError as error:
            raise server_error(error, self._connection) from None
        seconds = self._ended - self._started
        return self._question.answers(response, self._images, seconds, self._connection.address)

    def cancel(self) -> None:
        self._future.cancel()
