"""A fake digit server for tests: real gRPC, predictable answers.

with FakeServer() as fake, Client(fake.address) as client:
    ...
"""

from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Self

import grpc
import numpy as np
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from protos.digits.v1 import prediction_pb2, prediction_pb2_grpc

Answer = Callable[[prediction_pb2.PredictRequest], prediction_pb2.PredictResponse]


def first_pixel(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
    """Return the last decimal of an image's first pixel as its digit, with a confidence of 75 %."""
    digits = np.frombuffer(request.images, np.uint8).reshape(-1, 784)[:, 0] % 10
    rows = np.full((len(digits), 10), 0.25 / 9)
    rows[np.arange(len(digits)), digits] = 0.75
    return prediction_pb2.PredictResponse(
        digits=digits.tolist(),
        confidences=[0.75] * len(digits),
        probabilities=rows.ravel().tolist() if request.include_probabilities else [],
        model=request.model or "digits",
        version=request.version or 3,
        timing=prediction_pb2.Timing(queue_us=100, compute_us=2000, batch_images=len(digits)),
    )


class FakeServer(prediction_pb2_grpc.PredictionServiceServicer):
    """Serve on `port` of this machine (0 is any free one) while the `with` block lasts.

    With `credentials` it is a TLS server. Each status in `failures` fails one call. `requests` and `metadata`
    record what callers sent; `models` are the models that it lists.
    """

    def __init__(
        self,
        answer: Answer = first_pixel,
        *,
        port: int = 0,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self.answer = answer
        self.failures: deque[tuple[grpc.StatusCode, str]] = deque()
        self.models: list[prediction_pb2.Model] = []
        self.requests: list[prediction_pb2.PredictRequest] = []
        self.metadata: list[dict[str, str | bytes]] = []
        self._health = health.HealthServicer()
        self._server = grpc.server(ThreadPoolExecutor(max_workers=8))
        prediction_pb2_grpc.add_PredictionServiceServicer_to_server(self, self._server)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        add_port = self._server.add_insecure_port
        if credentials:
            add_port = partial(self._server.add_secure_port, server_credentials=credentials)
        self.address = f"127.0.0.1:{add_port(f'127.0.0.1:{port}')}"

    def stop(self) -> None:
        """Stop at once; calls in flight are cancelled."""
        self._server.stop(None).wait()

    def set_ready(self, service: str, *, ready: bool) -> None:
        """Set the health of `service`; "" is the server as a whole."""
        status = health_pb2.HealthCheckResponse
        self._health.set(service, status.SERVING if ready else status.NOT_SERVING)

    def Predict(  # noqa: N802 - the method's name on the wire
        self, request: prediction_pb2.PredictRequest, context: grpc.ServicerContext
    ) -> prediction_pb2.PredictResponse:
        """Answer, or fail if a failure was requested."""
        self.requests.append(request)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failures:
            context.abort(*self.failures.popleft())
        return self.answer(request)

    def GetModel(  # noqa: N802 - the method's name on the wire
        self, request: prediction_pb2.GetModelRequest, context: grpc.ServicerContext
    ) -> prediction_pb2.Model:
        """Describe the model with that name, or the first model."""
        for model in self.models:
            if request.model in {"", model.name}:
                return model
        context.abort(grpc.StatusCode.NOT_FOUND, f"model {request.model!r} is not known")
        raise AssertionError  # abort has raised

    def ListModels(  # noqa: N802 - the method's name on the wire
        self, _request: prediction_pb2.ListModelsRequest, _context: grpc.ServicerContext
    ) -> prediction_pb2.ListModelsResponse:
        """List `models`."""
        return prediction_pb2.ListModelsResponse(models=self.models)

    def __enter__(self) -> Self:
        self._server.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
