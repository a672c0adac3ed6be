"""The Open Inference Protocol of Triton, KServe, digit-server and others."""

import grpc
import numpy as np
from numpy.typing import NDArray

from clients.data.values import PIXELS
from clients.errors import InputError, ServerError
from clients.wire import DIGITS, DIGITS_WIRE, Prediction, Question, Timing, Wire
from protos import inference_pb2

# Tensors of published models; see docs/model-repository.md.
_INPUT, _OUTPUT = "images", "probabilities"
_DEFAULT_MODEL = "digits"


def _request(question: Question, images: NDArray[np.uint8]) -> inference_pb2.ModelInferRequest:
    """Build the request for `images`, uint8 (n, 784). Raises InputError if a label is asked for."""
    if question.label:
        raise InputError("the Open Inference Protocol has no labels, ask for a version")
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(
        name=_INPUT, datatype="UINT8", shape=[len(images), PIXELS]
    )
    return inference_pb2.ModelInferRequest(
        model_name=question.model or _DEFAULT_MODEL,
        model_version=str(question.version) if question.version else "",
        inputs=[tensor],
        raw_input_contents=[images.tobytes()],
    )


def _predictions(
    response: inference_pb2.ModelInferResponse,
    question: Question,
    images: int,
    *,
    call_seconds: float,
    address: str,
) -> list[Prediction]:
    """Read the probabilities of `images` images; the protocol has no durations."""
    rows = _probabilities(response)
    if rows is None or rows.shape != (images, DIGITS) or not np.isfinite(rows).all():
        shape = None if rows is None else rows.shape
        raise ServerError(
            f"server {address} answered {_OUTPUT} of shape {shape}, expected ({images}, {DIGITS})",
            grpc.StatusCode.DATA_LOSS,
        )
    timing = Timing(queue_seconds=0.0, compute_seconds=0.0, call_seconds=call_seconds, batch_images=images)
    version = int(response.model_version) if response.model_version.isdecimal() else 0
    return [
        Prediction(
            digit=int(row.argmax()),
            confidence=float(row.max()),
            probabilities=tuple(row.tolist()) if question.probabilities else None,
            model=response.model_name,
            version=version,
            timing=timing,
        )
        for row in rows
    ]


def _probabilities(response: inference_pb2.ModelInferResponse) -> NDArray[np.float32] | None:
    """Return the output tensor, raw or not; None if it is missing or does not have rows of ten."""
    for index, output in enumerate(response.outputs):
        if output.name != _OUTPUT or output.datatype != "FP32":
            continue
        if response.raw_output_contents:
            content = response.raw_output_contents[index]
            values = np.frombuffer(content[: len(content) // 4 * 4], "<f4")
        else:
            values = np.array(output.contents.fp32_contents, np.float32)
        return values.reshape(-1, DIGITS) if values.size % DIGITS == 0 else None
    return None


def _count(response: inference_pb2.ModelInferResponse) -> int:
    """Return the number of rows of probabilities."""
    rows = _probabilities(response)
    return 0 if rows is None else len(rows)


OPEN_INFERENCE_WIRE = Wire(
    "/inference.GRPCInferenceService/ModelInfer",
    inference_pb2.ModelInferResponse,
    _request,
    _predictions,
    _count,
)
WIRES: dict[str, Wire] = {"digits": DIGITS_WIRE, "open-inference": OPEN_INFERENCE_WIRE}
