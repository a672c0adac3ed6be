"""The client that blocks."""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, wait
from itertools import chain
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from grpc_health.v1 import health_pb2
from numpy.typing import NDArray

from clients.chunks import cut
from clients.coalesce import Coalescer
from clients.connection import Connection
from clients.health import CHECK, WATCH, Health, health
from clients.hedge import HedgeBudget
from clients.images import ImageLike, Images, pixels
from clients.prediction import ModelInfo, Prediction
from clients.protocols import WIRES
from clients.status import server_error
from clients.wire import GET_MODEL, LIST_MODELS, Question, model_info, serialize
from protos.digits.v1 import prediction_pb2

Answers = Future[list[Prediction]]


class Client:
    """Ask a digit server; one client serves any number of threads.

    `server` is HOST:PORT, or a Connection with all its settings. Calls carry up to
    `images_per_call` images, and `calls_in_flight` of them travel at the same time. With
    `coalesce`, threads that ask at the same time share calls: for many callers of few images.
    Every method raises ServerError where the server gives no usable answer.
    """

    def __init__(
        self,
        server: str | Connection = "localhost:8500",
        *,
        images_per_call: int = 256,
        calls_in_flight: int = 4,
        coalesce: bool = False,
    ) -> None:
        self._connection = Connection(address=server) if isinstance(server, str) else server
        self._images_per_call = images_per_call
        self._calls_in_flight = calls_in_flight
        self._channel = self._connection.open()
        self._wire = WIRES[self._connection.protocol]
        self._predict: Any = self._channel.unary_unary(
            self._wire.method, serialize, self._wire.response.FromString
        )
        self._hedges = HedgeBudget()
        self._ask: Callable[[Question, NDArray[np.uint8]], Answers] = self._send
        if coalesce:
            joined: Coalescer[Answers] = Coalescer(
                self._send, Future, images_per_call=images_per_call, calls_in_flight=calls_in_flight
            )
            self._ask = joined.ask

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
        return list(chain.from_iterable(self._pipeline(question, [pixels(images)])))

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
        return chain.from_iterable(self._pipeline(question, map(pixels, images)))

    def models(self) -> list[ModelInfo]:
        """List every version of every model that the server knows."""
        response = self._call(
            LIST_MODELS, prediction_pb2.ListModelsRequest(), prediction_pb2.ListModelsResponse
        )
        return [model_info(model) for model in response.models]

    def model(self, name: str = "") -> ModelInfo:
        """Describe the version of a model that serves; by default the server's default model."""
        return model_info(
            self._call(GET_MODEL, prediction_pb2.GetModelRequest(model=name), prediction_pb2.Model)
        )

    def ready(self, service: str = "") -> bool:
        """Say whether the server (or one service or model of it) is ready to answer."""
        ask = health_pb2.HealthCheckRequest(service=service)
        return health(self._call(CHECK, ask, health_pb2.HealthCheckResponse)) == "ready"

    def watch(self, service: str = "") -> Iterator[Health]:
        """Tell how the server (or one service or model of it) is, now and whenever that changes; endless."""
        ask = health_pb2.HealthCheckRequest(service=service)
        call: Any = self._channel.unary_stream(WATCH, serialize, health_pb2.HealthCheckResponse.FromString)
        last: Health | None = None
        while True:
            answers = call(ask, metadata=self._connection.metadata, wait_for_ready=last == "gone")
            try:
                for response in answers:
                    if (now := health(response)) != last:
                        yield (last := now)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise server_error(error, self._connection) from None
            finally:
                answers.cancel()
            if last != "gone":
                yield (last := "gone")

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _pipeline(self, question: Question, parts: Iterable[NDArray[np.uint8]]) -> Iterator[list[Prediction]]:
        flying: deque[tuple[NDArray[np.uint8], Answers]] = deque()
        try:
            for images in cut(parts, self._images_per_call):
                self._hedges.called()
                flying.append((images, self._ask(question, images)))
                if len(flying) == self._calls_in_flight:
                    yield self._wait(question, *flying.popleft())
            while flying:
                yield self._wait(question, *flying.popleft())
        finally:
            for _, answers in flying:
                answers.cancel()

    def _wait(self, question: Question, images: NDArray[np.uint8], first: Answers) -> list[Prediction]:
        hedge_seconds = self._connection.hedge_seconds
        done, _ = wait([first], hedge_seconds)
        if done or not self._hedges.take():
            return first.result()
        second = self._ask(question, images)
        done, late = wait([first, second], return_when=FIRST_COMPLETED)
        winner = next((answers for answers in done if not answers.exception()), None)
        if winner is None:  # one failed; the other may still do better
            return next(iter(late or done)).result()
        for answers in late:
            answers.cancel()
        return winner.result()

    def _send(self, question: Question, images: NDArray[np.uint8]) -> Answers:
        """Start one call."""
        answers: Answers = Future()
        started = time.perf_counter()
        call = self._predict.future(
            self._wire.request(question, images),
            timeout=self._connection.timeout_seconds,
            metadata=self._connection.metadata,
        )

        def finish(_: object) -> None:
            seconds = time.perf_counter() - started
            if not answers.set_running_or_notify_cancel():
                return
            try:
                response = call.result()
                address = self._connection.address
                answers.set_result(
                    self._wire.predictions(
                        response, question, len(images), call_seconds=seconds, address=address
                    )
                )
            except grpc.RpcError as error:
                answers.set_exception(server_error(error, self._connection))
            except Exception as error:  # noqa: BLE001 - whoever waits must be told, whatever it is
                answers.set_exception(error)

        call.add_done_callback(finish)
        answers.add_done_callback(lambda _: call.cancel())  # nothing happens where it has ended
        return answers

    def _call(self, method: str, ask: Any, answer: type[Any]) -> Any:
        call = self._channel.unary_unary(method, type(ask).SerializeToString, answer.FromString)
        connection = self._connection
        try:
            return call(ask, timeout=connection.timeout_seconds, metadata=connection.metadata)
        except grpc.RpcError as error:
            raise server_error(error, connection) from None
