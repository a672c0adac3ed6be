"""Calls to a server as futures, the basis of the blocking and the asyncio client."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Future
from typing import Any, TypeVar

import grpc
import numpy as np
from grpc_health.v1 import health_pb2
from numpy.typing import NDArray

from clients.connection import Connection
from clients.diagnosis import server_error
from clients.wire import (
    CHECK,
    GET_MODEL,
    LIST_MODELS,
    WATCH,
    Health,
    ModelInfo,
    Prediction,
    Question,
    health,
    model_info,
    serialize,
)
from protos.digits.v1 import prediction_pb2

T = TypeVar("T")
Answers = Future[list[Prediction]]
# One hedge per ten calls, and a burst of ten: a slow server must not get twice the load.
_HEDGES_AT_ONCE, _HEDGES_PER_CALL = 10.0, 0.1


class Calls:
    """Calls over one channel; thread-safe."""

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self._channel = connection.open()
        self._wire = connection.wire
        self._predict: Any = self._channel.unary_unary(
            self._wire.method, serialize, self._wire.response.FromString
        )
        self._hedges = _HEDGES_AT_ONCE

    def predict_now(self, question: Question, images: NDArray[np.uint8]) -> list[Prediction]:
        """Make one call and wait for it: a third less overhead than waiting for a future."""
        connection, started = self.connection, time.perf_counter()
        if connection.hedge_seconds is not None:
            return self.predict(question, images).result()
        try:
            response = self._predict(
                self._wire.request(question, images),
                timeout=connection.timeout_seconds,
                metadata=connection.metadata,
            )
        except grpc.RpcError as error:
            raise server_error(error, connection) from None
        return self._read(response, question, len(images), time.perf_counter() - started)

    def predict(self, question: Question, images: NDArray[np.uint8]) -> Answers:
        """Start a call, and a second one if the first is not answered after `hedge_seconds`."""
        if (seconds := self.connection.hedge_seconds) is None:
            return self._start(question, images)
        self._hedges = min(_HEDGES_AT_ONCE, self._hedges + _HEDGES_PER_CALL)
        return _Hedge(lambda: self._start(question, images), seconds, self._may_hedge).answer

    def models(self) -> Future[list[ModelInfo]]:
        """List every version of every model that the server knows."""
        return self._unary(
            LIST_MODELS,
            prediction_pb2.ListModelsRequest(),
            prediction_pb2.ListModelsResponse,
            lambda response: [model_info(model) for model in response.models],
        )

    def model(self, name: str) -> Future[ModelInfo]:
        """Describe the version of a model that serves."""
        return self._unary(
            GET_MODEL, prediction_pb2.GetModelRequest(model=name), prediction_pb2.Model, model_info
        )

    def health(self, service: str) -> Future[Health]:
        """Check the health of the server, or of a service or model of it."""
        ask = health_pb2.HealthCheckRequest(service=service)
        return self._unary(CHECK, ask, health_pb2.HealthCheckResponse, health)

    def watch(
        self, service: str, opened: Callable[[Any], None] = lambda _: None, seconds: float | None = None
    ) -> Iterator[Health]:
        """Yield the health now and at each change, for `seconds` or until the call given to `opened` ends."""
        ask = health_pb2.HealthCheckRequest(service=service)
        call: Any = self._channel.unary_stream(WATCH, serialize, health_pb2.HealthCheckResponse.FromString)
        end = None if seconds is None else time.monotonic() + seconds
        last: Health | None = None
        while True:
            left = None if end is None else max(0.0, end - time.monotonic())
            answers = call(
                ask, timeout=left, metadata=self.connection.metadata, wait_for_ready=last == "gone"
            )
            opened(answers)
            try:
                for response in answers:
                    if (now := health(response)) != last:
                        yield (last := now)
            except grpc.RpcError as error:
                ended = {grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
                if error.code() in ended and (answers.cancelled() or end is not None):
                    return
                if error.code() is not grpc.StatusCode.UNAVAILABLE:
                    raise server_error(error, self.connection) from None
            finally:
                answers.cancel()
            if last != "gone":
                yield (last := "gone")

    def close(self) -> None:
        """Close the connection; calls in flight are cancelled."""
        self._channel.close()

    def _may_hedge(self) -> bool:
        if self._hedges < 1:
            return False
        self._hedges -= 1
        return True

    def _start(self, question: Question, images: NDArray[np.uint8]) -> Answers:
        request = self._wire.request(question, images)
        return self._future(
            self._predict, request, lambda answer, seconds: self._read(answer, question, len(images), seconds)
        )

    def _read(self, response: Any, question: Question, images: int, seconds: float) -> list[Prediction]:
        address = self.connection.address
        return self._wire.predictions(response, question, images, call_seconds=seconds, address=address)

    def _unary(self, method: str, ask: Any, answer: type[Any], read: Callable[[Any], T]) -> Future[T]:
        call = self._channel.unary_unary(method, serialize, answer.FromString)
        return self._future(call, ask, lambda response, _: read(response))

    def _future(self, method: Any, message: Any, read: Callable[[Any, float], T]) -> Future[T]:
        answer: Future[T] = Future()
        connection, started = self.connection, time.perf_counter()
        call = method.future(message, timeout=connection.timeout_seconds, metadata=connection.metadata)

        def finish(_: object) -> None:
            seconds = time.perf_counter() - started
            if not answer.set_running_or_notify_cancel():
                return
            try:
                answer.set_result(read(call.result(), seconds))
            except grpc.RpcError as error:
                answer.set_exception(server_error(error, connection))
            except Exception as error:  # noqa: BLE001 - any error reaches the caller
                answer.set_exception(error)

        call.add_done_callback(finish)
        answer.add_done_callback(lambda _: call.cancel())  # no effect once the call has ended
        return answer


class _Hedge:
    """A call, and a second one if the first is not answered after `seconds`; the first success wins."""

    def __init__(self, start: Callable[[], Answers], seconds: float, allowed: Callable[[], bool]) -> None:
        self.answer: Answers = Future()
        self._start, self._allowed = start, allowed
        self._calls: list[Answers] = []
        self._failed = 0
        self._lock = threading.RLock()  # cancelling the slower call invokes this callback too
        self._timer = threading.Timer(seconds, self._second)
        self._timer.daemon = True
        self.answer.add_done_callback(self._stop)
        self._send()
        if not self.answer.done():
            self._timer.start()

    def _send(self) -> None:
        call = self._start()
        with self._lock:
            self._calls.append(call)
        call.add_done_callback(self._ended)

    def _second(self) -> None:
        if not self.answer.done() and self._allowed():
            with contextlib.suppress(ValueError):  # the channel was closed meanwhile
                self._send()

    def _ended(self, call: Answers) -> None:
        error = CancelledError() if call.cancelled() else call.exception()
        with self._lock:
            self._failed += error is not None
            if self.answer.done() or (error and self._failed < len(self._calls)):
                return
            if not self.answer.set_running_or_notify_cancel():
                return
            if error:
                self.answer.set_exception(error)
            else:
                self.answer.set_result(call.result())

    def _stop(self, _: Answers) -> None:
        self._timer.cancel()
        for call in self._calls:
            call.cancel()
