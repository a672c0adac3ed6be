"""The blocking client and the asyncio client."""

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any, Self, Unpack

import grpc
import numpy as np
from numpy.typing import NDArray

from clients.calls import Answers, Calls
from clients.connection import Connection
from clients.errors import InputError, ServerError
from clients.images import ImageLike, Images, pixels
from clients.pipeline import Pipeline, pump
from clients.wire import Health, ModelInfo, Options, Prediction, Question


class BaseClient:
    """The arguments of Client and AsyncClient.

    `server` is HOST:PORT, or a Connection with more settings; `timeout` (seconds per call) and `token`
    override the connection's. Calls carry up to `images_per_call` images, and up to `calls_in_flight` calls
    are concurrent.
    """

    def __init__(
        self,
        server: str | Connection = "localhost:8500",
        *,
        timeout: float | None = None,
        token: str = "",
        images_per_call: int = 256,
        calls_in_flight: int = 4,
    ) -> None:
        connection = Connection(address=server) if isinstance(server, str) else server
        if timeout is not None:
            connection = replace(connection, timeout_seconds=timeout)
        self._calls = Calls(replace(connection, token=token) if token else connection)
        self._size, self._limit = images_per_call, calls_in_flight


class Client(BaseClient):
    """A client of a digit server; thread-safe. Its arguments are those of BaseClient.

    Every method raises ServerError if the server gives no usable answer.
    """

    def predict(self, images: Images, **options: Unpack[Options]) -> list[Prediction]:
        """Predict the digit in each image, in order.

        `images` is a path, the bytes of a picture, a PIL image, an array of one or more images, or a list of
        these; options: `probabilities`, `model`, `version`, `label`. Raises InputError for anything else.
        """
        array = pixels(images)
        if len(array) <= self._size:
            return self._calls.predict_now(Question(**options), array)
        return list(self.stream([array], **options))

    def predict_one(self, image: ImageLike, **options: Unpack[Options]) -> Prediction:
        """Predict the digit in one image; raises InputError for several."""
        (answer,) = self._calls.predict_now(Question(**options), _single(pixels(image)))
        return answer

    def stream(self, images: Iterable[ImageLike], **options: Unpack[Options]) -> Iterator[Prediction]:
        """Predict a sequence of images of any length, in order and in constant memory.

        A thread reads the source, at most `calls_in_flight` x `images_per_call` images ahead. Images of a
        slow source are sent without waiting for more.
        """
        send = partial(self._calls.predict, Question(**options))
        return pump(map(pixels, images), send, images_per_call=self._size, calls_in_flight=self._limit)

    def models(self) -> list[ModelInfo]:
        """List every version of every model that the server knows."""
        return self._calls.models().result()

    def model(self, name: str = "") -> ModelInfo:
        """Describe the version of a model that serves; by default the server's default model."""
        return self._calls.model(name).result()

    def ready(self, service: str = "") -> bool:
        """Tell whether the server, or one of its services or models, is ready."""
        return self._calls.health(service).result() == "ready"

    def connect(self, wait_seconds: float = 0.0) -> None:
        """Raise ServerError if no server answers, or wait up to `wait_seconds` until it is ready."""
        try:
            if not wait_seconds or "ready" in self._calls.watch("", seconds=wait_seconds):
                wait_seconds = 0.0
            self._calls.health("").result()
        except ServerError as error:
            if error.code is grpc.StatusCode.UNAVAILABLE:
                raise
            return  # a server that lacks or refuses health checks is nevertheless reachable
        if wait_seconds:
            message = f"server {self._calls.connection.address} was not ready within {wait_seconds:g} s"
            raise ServerError(message, grpc.StatusCode.UNAVAILABLE)

    def watch(self, service: str = "") -> Iterator[Health]:
        """Yield the health of the server, or of a service or model, now and at every change, without end."""
        return self._calls.watch(service)

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._calls.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(BaseClient):
    """A client of a digit server for asyncio; see Client."""

    async def predict(self, images: Images, **options: Unpack[Options]) -> list[Prediction]:
        """Predict the digit in each image, in order; see Client.predict."""
        array = await _pixels(images)
        if len(array) <= self._size:
            return await asyncio.wrap_future(self._calls.predict(Question(**options), array))
        return [answer async for answer in self.stream([array], **options)]

    async def predict_one(self, image: ImageLike, **options: Unpack[Options]) -> Prediction:
        """Predict the digit in one image; raises InputError for several."""
        array = _single(await _pixels(image))
        return (await asyncio.wrap_future(self._calls.predict(Question(**options), array)))[0]

    async def stream(
        self, images: Iterable[ImageLike] | AsyncIterable[ImageLike], **options: Unpack[Options]
    ) -> AsyncIterator[Prediction]:
        """Predict a sequence of any length, in order and in constant memory; see Client.stream."""
        loop = asyncio.get_running_loop()
        answers: asyncio.Queue[Answers | None] = asyncio.Queue()
        pipeline = Pipeline(
            partial(self._calls.predict, Question(**options)),
            lambda call: loop.call_soon_threadsafe(answers.put_nowait, call),
            images_per_call=self._size,
            calls_in_flight=self._limit,
        )
        room, answered = self._size * self._limit, asyncio.Event()

        async def read() -> None:
            nonlocal room
            try:
                async for image in images if isinstance(images, AsyncIterable) else _each(images):
                    array = await _pixels(image)
                    pipeline.put(array)
                    room -= len(array)
                    while room <= 0:
                        answered.clear()
                        await answered.wait()
                pipeline.end()
            except Exception as error:  # noqa: BLE001 - raised where the answers are read
                pipeline.end(error)

        reader = asyncio.create_task(read())
        try:
            while (call := await answers.get()) is not None:
                predictions = await asyncio.wrap_future(call)
                for prediction in predictions:
                    yield prediction
                room += len(predictions)
                answered.set()
        finally:
            reader.cancel()
            pipeline.cancel()

    async def models(self) -> list[ModelInfo]:
        """List every version of every model that the server knows."""
        return await asyncio.wrap_future(self._calls.models())

    async def model(self, name: str = "") -> ModelInfo:
        """Describe the version of a model that serves; by default the server's default model."""
        return await asyncio.wrap_future(self._calls.model(name))

    async def ready(self, service: str = "") -> bool:
        """Tell whether the server, or one of its services or models, is ready."""
        return await asyncio.wrap_future(self._calls.health(service)) == "ready"

    async def watch(self, service: str = "") -> AsyncIterator[Health]:
        """Yield the health of the server, or of a service or model, now and at every change, without end."""
        loop = asyncio.get_running_loop()
        states: asyncio.Queue[Health | Exception] = asyncio.Queue()
        calls: list[Any] = []

        def follow() -> None:
            try:
                for state in self._calls.watch(service, calls.append):
                    loop.call_soon_threadsafe(states.put_nowait, state)
            except Exception as error:  # noqa: BLE001 - raised where the states are read
                loop.call_soon_threadsafe(states.put_nowait, error)

        threading.Thread(target=follow, daemon=True).start()
        try:
            while not isinstance(state := await states.get(), Exception):
                yield state
            raise state
        finally:
            for call in calls:
                call.cancel()

    async def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        await asyncio.to_thread(self._calls.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _single(array: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Check that an array (n, 784) holds one image."""
    if len(array) != 1:
        raise InputError(f"{len(array)} images, expected one; predict takes many")
    return array


async def _each(images: Iterable[Any]) -> AsyncIterator[Any]:
    for image in images:
        yield image


async def _pixels(images: Images) -> NDArray[np.uint8]:
    if isinstance(images, np.ndarray):
        return pixels(images)
    # Decoding a photograph takes milliseconds, too long for the event loop.
    return await asyncio.to_thread(pixels, images)
