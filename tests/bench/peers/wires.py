"""Calls to each server: single ones to verify, and load."""

import base64
import http.client
import json
from collections.abc import Callable
from dataclasses import dataclass

import grpc
import numpy as np

from protos import inference_pb2 as oip
from protos.digits.v1 import prediction_pb2
from server.settings import IMAGE_BYTES
from tests.bench import processes as bench
from tests.wire import PREDICT, framed

CALL_SECONDS = 5
JSON = "application/json"


@dataclass(frozen=True, slots=True)
class Grpc:
    """A unary gRPC method; many calls share one connection."""

    path: str
    request: Callable[[bytes], bytes]
    digits: Callable[[bytes], list[int]]

    def ask(self, port: int, images: bytes) -> list[int]:
        """Return the digits of images; raise OSError or grpc.RpcError without an answer."""
        return self.digits(self._answer(port, self.request(images)))

    def drive(self, port: int, images: bytes, *, inflight: int, calls: int) -> bench.Load:
        """Generate load with h2load; raise RuntimeError if calls failed."""
        message = self.request(images)
        answer = framed(self._answer(port, message))
        load = bench.post(
            f"http://127.0.0.1:{port}{self.path}",
            framed(message),
            bench.GRPC,
            inflight=inflight,
            calls=calls,
        )
        # A failed call has HTTP status 200 and no body. Our answers have durations, whose length varies.
        if load.answer_bytes < 0.9 * calls * len(answer):
            raise RuntimeError(
                f"{load.answer_bytes} bytes in {calls} answers, expected {len(answer)} in each"
            )
        return load

    def _answer(self, port: int, message: bytes) -> bytes:
        with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer: bytes = channel.unary_unary(self.path)(message, timeout=CALL_SECONDS)
            return answer


class JsonOverHttp:
    """LitServe's own protocol over HTTP/1.1, with a connection per call in flight."""

    def ask(self, port: int, images: bytes) -> list[int]:
        """Return the digits of images."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=CALL_SECONDS)
        connection.request("POST", "/predict", json_body(images), {"content-type": JSON})
        answer = json.load(connection.getresponse())
        digits: list[int] = answer["digits"]
        return digits

    def drive(self, port: int, images: bytes, *, inflight: int, calls: int) -> bench.Load:
        """Generate load with h2load, which counts every status but 2xx as failed."""
        options = ("--h1", "--header", f"content-type: {JSON}", "--clients", str(inflight))
        url = f"http://127.0.0.1:{port}/predict"
        return bench.post(url, json_body(images), options, inflight=1, calls=calls)


Wire = Grpc | JsonOverHttp


def json_body(images: bytes) -> bytes:
    """Return the body of a request to the LitServe peer."""
    return json.dumps({"images": base64.b64encode(images).decode()}).encode()


def predict_digits(answer: bytes) -> list[int]:
    """Return the digits of a PredictResponse."""
    return list(prediction_pb2.PredictResponse.FromString(answer).digits)


def uint8_request(images: bytes) -> bytes:
    """Return a ModelInferRequest as its clients build it: one raw uint8 tensor."""
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="images", datatype="UINT8", shape=[len(images) // IMAGE_BYTES, IMAGE_BYTES]
    )
    request = oip.ModelInferRequest(model_name="digits", inputs=[tensor], raw_input_contents=[images])
    return request.SerializeToString()


def bytes_request(images: bytes) -> bytes:
    """Return a ModelInferRequest whose elements are whole images, of type BYTES."""
    rows = [images[start : start + IMAGE_BYTES] for start in range(0, len(images), IMAGE_BYTES)]
    tensor = oip.ModelInferRequest.InferInputTensor(
        name="images",
        datatype="BYTES",
        shape=[len(rows), 1],
        contents=oip.InferTensorContents(bytes_contents=rows),
    )
    return oip.ModelInferRequest(model_name="digits", inputs=[tensor]).SerializeToString()


def infer_digits(answer: bytes) -> list[int]:
    """Return the digits of a ModelInferResponse with probabilities."""
    response = oip.ModelInferResponse.FromString(answer)
    raw, contents = response.raw_output_contents, response.outputs[0].contents.fp32_contents
    probabilities = np.frombuffer(raw[0], np.float32) if raw else np.array(contents)
    digits: list[int] = probabilities.reshape(-1, 10).argmax(1).tolist()
    return digits


def predict_request(images: bytes) -> bytes:
    """Return a PredictRequest."""
    return prediction_pb2.PredictRequest(images=images).SerializeToString()


OURS = Grpc(PREDICT, predict_request, predict_digits)
OPEN_INFERENCE = Grpc("/inference.GRPCInferenceService/ModelInfer", uint8_request, infer_digits)
OPEN_INFERENCE_BYTES = Grpc(OPEN_INFERENCE.path, bytes_request, infer_digits)
