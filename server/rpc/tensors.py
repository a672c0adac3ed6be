"""Tensors of the Open Inference Protocol: images in, probabilities or the most probable digits out."""

from collections.abc import Container, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from protos import inference_pb2 as pb
from server.errors import InvalidRequestError, cut, quoted
from server.model.manifest import CLASSES
from server.model.session import INPUT, OUTPUT
from server.settings import IMAGE_BYTES

# What follows N in the shape of an input: the graph's own, and what image libraries make.
IMAGE_SHAPES = ((784,), (28, 28), (28, 28, 1), (1, 28, 28))
_EXPECTED_SHAPES = ", ".join(str(["N", *shape]).replace("'", "") for shape in IMAGE_SHAPES)

FULL_INK = 255

InputTensor = pb.ModelInferRequest.InferInputTensor
OutputTensor = pb.ModelInferResponse.InferOutputTensor


@dataclass(frozen=True, slots=True)
class Question:
    """What a request asks, checked."""

    images: bytes  # count x 784
    count: int
    classes: int  # the k most probable digits of each image; 0: all ten probabilities
    raw: bool  # whether tensors travel as bytes rather than as lists of numbers


def question(request: pb.ModelInferRequest, max_images: int) -> Question:
    """Read a request.

    Raises:
        InvalidRequestError: the inputs are not one tensor of at most `max_images` images, or an output is
            asked for that does not exist.

    """
    if len(request.inputs) != 1 or request.inputs[0].name != INPUT:
        names = cut(", ".join(repr(tensor.name) for tensor in request.inputs) or "none")
        raise InvalidRequestError(f"the request has inputs {names}, expected one, {INPUT!r}")
    (tensor,) = request.inputs
    _refuse_shared_memory("input", tensor.name, tensor.parameters)
    count = _count(tensor.shape, max_images)
    if request.raw_input_contents:
        images = _raw(tensor, request.raw_input_contents, count)
    else:
        images = _typed(tensor, count)
    return Question(images, count, _classes(request), raw=bool(request.raw_input_contents))


def answer(asked: Question, probabilities: NDArray[np.float32], response: pb.ModelInferResponse) -> None:
    """Put probabilities (n, 10) into `response`, in the form that was asked for."""
    if asked.classes:
        _answer_classes(asked, probabilities, response)
        return
    tensor = response.outputs.add(name=OUTPUT, datatype="FP32", shape=probabilities.shape)
    if asked.raw:
        response.raw_output_contents.append(probabilities.astype("<f4", copy=False).tobytes())
    else:
        tensor.contents.fp32_contents.extend(probabilities.ravel().tolist())


def _count(shape: Sequence[int], max_images: int) -> int:
    if tuple(shape[1:]) not in IMAGE_SHAPES:
        raise InvalidRequestError(
            f"input {INPUT!r} has shape {cut(str(list(shape)))}, expected one of {_EXPECTED_SHAPES}"
        )
    if not 1 <= shape[0] <= max_images:
        raise InvalidRequestError(f"input {INPUT!r} has {shape[0]} images, expected 1 to {max_images}")
    return shape[0]


def _raw(tensor: InputTensor, contents: Sequence[bytes], count: int) -> bytes:
    if len(contents) != 1:
        raise InvalidRequestError(f"raw_input_contents has {len(contents)} entries, expected one an input: 1")
    if tensor.contents.ByteSize():
        raise InvalidRequestError(f"input {INPUT!r} has contents beside raw_input_contents, expected one")
    match tensor.datatype:
        case "UINT8":
            value_bytes = 1
        case "FP32":
            value_bytes = 4
        case _:
            raise _wrong_datatype(tensor)
    size, expected = len(contents[0]), count * IMAGE_BYTES * value_bytes
    if size != expected:
        raise InvalidRequestError(
            f"input {INPUT!r} has {size} bytes, expected {expected}: {tensor.datatype} {list(tensor.shape)}"
        )
    return contents[0] if value_bytes == 1 else _pixels(np.frombuffer(contents[0], "<f4"))


def _typed(tensor: InputTensor, count: int) -> bytes:
    match tensor.datatype:
        case "UINT8":
            name, numbers = "uint_contents", np.array(tensor.contents.uint_contents, np.float32)
        case "FP32":
            name, numbers = "fp32_contents", np.array(tensor.contents.fp32_contents, np.float32)
        case _:
            raise _wrong_datatype(tensor)
    if len(numbers) != count * IMAGE_BYTES:
        raise InvalidRequestError(
            f"input {INPUT!r} has {len(numbers)} values in {name}, expected {count * IMAGE_BYTES}: "
            f"{list(tensor.shape)}"
        )
    return _pixels(numbers)


def _pixels(values: NDArray[np.float32]) -> bytes:
    """Round values of 0-255 to bytes."""
    low, high = float(values.min()), float(values.max())
    if not (low >= 0 and high <= FULL_INK):  # nor where one is NaN
        raise InvalidRequestError(
            f"input {INPUT!r} has values from {low:g} to {high:g}, expected 0 to {FULL_INK}"
        )
    pixels = np.rint(values)
    if high <= 1 and not np.array_equal(pixels, values):
        raise InvalidRequestError(
            f"input {INPUT!r} seems to be scaled to 0-1 (its largest value is {high:g}), expected 0 to {FULL_INK}"
        )
    return pixels.astype(np.uint8).tobytes()


def _classes(request: pb.ModelInferRequest) -> int:
    if not request.outputs:
        return 0
    if len(request.outputs) != 1 or request.outputs[0].name != OUTPUT:
        names = cut(", ".join(repr(tensor.name) for tensor in request.outputs))
        raise InvalidRequestError(f"the request asks for outputs {names}, expected at most one, {OUTPUT!r}")
    (tensor,) = request.outputs
    _refuse_shared_memory("output", tensor.name, tensor.parameters)
    if "classification" not in tensor.parameters:
        return 0
    classes = tensor.parameters["classification"].int64_param
    if not 1 <= classes <= CLASSES:
        raise InvalidRequestError(
            f"output {OUTPUT!r} has classification {classes}, expected int64 1 to {CLASSES}"
        )
    return classes


def _answer_classes(
    asked: Question, probabilities: NDArray[np.float32], response: pb.ModelInferResponse
) -> None:
    best = np.argsort(-probabilities, axis=1, kind="stable")[:, : asked.classes]
    elements = [
        f"{row[digit]:f}:{digit}".encode()
        for row, digits in zip(probabilities, best, strict=True)
        for digit in digits
    ]
    tensor = response.outputs.add(name=OUTPUT, datatype="BYTES", shape=best.shape)
    if asked.raw:
        response.raw_output_contents.append(
            b"".join(len(element).to_bytes(4, "little") + element for element in elements)
        )
    else:
        tensor.contents.bytes_contents.extend(elements)


def _wrong_datatype(tensor: InputTensor) -> InvalidRequestError:
    return InvalidRequestError(
        f"input {INPUT!r} has datatype {quoted(tensor.datatype)}, expected UINT8 or FP32"
    )


def _refuse_shared_memory(kind: str, name: str, parameters: Container[str]) -> None:
    if "shared_memory_region" in parameters:
        raise InvalidRequestError(
            f"{kind} {quoted(name)} is in shared memory, expected contents in the message"
        )
