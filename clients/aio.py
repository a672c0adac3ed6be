"""The client for asyncio."""

import asyncio
import time
from collections import deque
from collections.abc import AsyncIterable, AsyncIterator, Callable, Iterable
from types import TracebackType
from typing import Any, Self

import grpc
import numpy as np
from grpc_health.v1 import health_pb2
from numpy.typing import NDArray

from clients.chunks import cut, cut_async
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

Answers = asyncio.Future[list[Prediction]]


class AsyncClient:
    """Ask a digit server from asyncio; the surface of Client, awaited.

    Make it where an event loop runs. With `coalesce`, tasks that ask at the same time share calls.
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
        self._channel = self._connection.open_async()
        self._wire = WIRES[self._connection.protocol]
        self._predict: Any = self._channel.unary_unary(
            self._wire.method, serialize, self._wire.response.FromString
        )
        self._hedges = HedgeBudget()
        self._ask: Callable[[Question, NDArray[np.uint8]], Answers] = self._send
        if coalesce:
            joined: Coalescer[Answers] = Coalescer(
                self._send,
                asyncio.get_running_loop().create_future,
                images_per_call=images_per_call,
                calls_in_flight=calls_in_flight,
            )
            self._ask = joined.ask

    async def predict(
        self,
        images: Images,
        *,
        probabilities: bool = False,
        model: str = "",
        version: int = 0,
        label: str = "",
    ) -> list[Prediction]:
        """Predict the digit in each image, in order; see Client.predict."""
        question = Question(probabilities=probabilities, model=model, version=version, label=label)
        array = await _pixels(images)
        if len(array) <= self._images_per_call:
            return await self._answered(question, array)
        answers: list[Prediction] = []
        async for some in self._pipeline(question, _each(cut([array], self._images_per_call))):
            answers.extend(some)
        return answers

    async def stream(
        self,
        images: Iterable[ImageLike] | AsyncIterable[ImageLike],
        *,
        probabilities: bool = False,
        model: str = "",
        version: int = 0,
        label: str = "",
    ) -> AsyncIterator[Prediction]:
        """Predict an endless sequence, in order and in constant memory; see Client.stream."""
        question = Question(probabilities=probabilities, model=model, version=version, label=label)
        source = images if isinstance(images, AsyncIterable) else _each(images)
        chunks = cut_async(_each_pixels(source), self._images_per_call)
        async for answers in self._pipeline(question, chunks):
            for answer in answers:
                yield answer

    async def models(self) -> list[ModelInfo]:
        """List every version of every model that the server knows."""
        response = await self._call(
            LIST_MODELS, prediction_pb2.ListModelsRequest(), prediction_pb2.ListModelsResponse
        )
        return [model_info(model) for model in response.models]

    async def model(self, name: str = "") -> ModelInfo:
        """Describe the version of a model that serves; by default the server's default model."""
        return model_info(
            await self._call(GET_MODEL, prediction_pb2.GetModelRequest(model=name), prediction_pb2.Model)
        )

    async def ready(self, service: str = "") -> bool:
        """Say whether the server (or one service or model of it) is ready to answer."""
        ask = health_pb2.HealthCheckRequest(service=service)
        return health(await self._call(CHECK, ask, health_pb2.HealthCheckResponse)) == "ready"

    async def watch(self, service: str = "") -> AsyncIterator[Health]:
        """Tell how the server (or one service or model of it) is, now and whenever that changes; endless."""
        ask = health_pb2.HealthCheckRequest(service=service)
        call: Any = self._channel.unary_stream(WATCH, serialize, health_pb2.HealthCheckResponse.FromString)
        last: Health | None = None
        while True:
            answers = call(ask, metadata=self._connection.metadata, wait_for_ready=last == "gone")
            try:
                async for response in answers:
                    if (now := health(response)) != last:
                        yield (last := now)
            except grpc.RpcError as error:
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise server_error(error, self._connection) from None
            finally:
                answers.cancel()
            if last != "gone":
                yield (last := "gone")

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await self._channel.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _pipeline(
        self, question: Question, chunks: AsyncIterable[NDArray[np.uint8]]
    ) -> AsyncIterator[list[Prediction]]:
        flying: deque[asyncio.Task[list[Prediction]]] = deque()
        try:
            async for images in chunks:
                flying.append(asyncio.ensure_future(self._answered(question, images)))
                if len(flying) == self._calls_in_flight:
                    yield await flying.popleft()
            while flying:
                yield await flying.popleft()
        finally:
            for task in flying:
                task.cancel()

    async def _answered(self, question: Question, images: NDArray[np.uint8]) -> list[Prediction]:
        if self._connection.hedge_seconds is None:
            return await self._ask(question, images)
        self._hedges.called()
        calls = [self._ask(question, images)]
        try:
            done, _ = await asyncio.wait(calls, timeout=self._connection.hedge_seconds)
            if not done and self._hedges.take():
                calls.append(self._ask(question, images))
            while True:
                done, late = await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                winner = next((answers for answers in done if not answers.exception()), None)
                if winner or not late:
                    return (winner or done.pop()).result()
                calls = list(late)  # one failed; the other may still do better
        finally:
            for answers in calls:
                answers.cancel()

    def _send(self, question: Question, images: NDArray[np.uint8]) -> Answers:
        return asyncio.ensure_future(self._answer(question, images))

    async def _answer(self, question: Question, images: NDArray[np.uint8]) -> list[Prediction]:
        connection = self._connection
        started = time.perf_counter()
        try:
            response = await self._predict(
                self._wire.request(question, images),
                timeout=connection.timeout_seconds,
                metadata=connection.metadata,
            )
        except grpc.RpcError as error:
            raise server_error(error, connection) from None
        seconds = time.perf_counter() - started
        return self._wire.predictions(
            response, question, len(images), call_seconds=seconds, address=connection.address
        )

    async def _call(self, method: str, ask: Any, answer: type[Any]) -> Any:
        call = self._channel.unary_unary(method, type(ask).SerializeToString, answer.FromString)
        connection = self._connection
        try:
            return await call(ask, timeout=connection.timeout_seconds, metadata=connection.metadata)
        except grpc.RpcError as error:
            raise server_error(error, connection) from None


async def _each(images: Iterable[Any]) -> AsyncIterator[Any]:
    for image in images:
        yield image


async def _each_pixels(images: AsyncIterable[ImageLike]) -> AsyncIterator[NDArray[np.uint8]]:
    async for image in images:
        yield await _pixels(image)


async def _pixels(images: Images) -> NDArray[np.uint8]:
    if isinstance(images, np.ndarray):
        return pixels(images)
    # Decoding a photograph takes milliseconds that the event loop has better uses for.
    return await asyncio.to_thread(pixels, images)
