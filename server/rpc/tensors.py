"""Tensors of the Open Inference Protocol: images in, probabilities or the k most probable digits out."""

import math
from collections.abc import Container, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from protos import inference_pb2 as pb
from server.errors import InvalidRequestError, cut, quoted
from server.model.manifest import CLASSES
from server.model.session import INPUT, OUTPUT
from server.rpc.pictures import elements
from server.settings import IMAGE_BYTES

# Shapes of an image after N: flat, and those of image libraries.
IMAGE_SHAPES = ([784], [28, 28], [28, 28, 1], [1, 28, 28])
_EXPECTED_SHAPES = ", ".join(str(["N", *shape]).replace("'", "") for shape in IMAGE_SHAPES)

FULL_INK = 255
# An image whose largest value is at most this was scaled, to 0-1 or 0-2.
MAX_SCALED = 2
SCALED = bytes(range(MAX_SCALED + 1))
# The middle rows, in which almost every digit has ink, so most checks end there.
MIDDLE = slice(13 * 28, 15 * 28)
MICROSECONDS = 1e6
PICTURES = "BYTES"  # the datatype of encoded pictures


class Datatype(NamedTuple):
    """How values of a datatype are encoded."""

    raw: str  # numpy's type in raw_input_contents
    contents: str  # the field of `contents`; empty if there is none
    rounded: bool = False  # whether fractions are rounded rather than refused


DATATYPES = {
    "UINT8": Datatype("u1", "uint_contents"),
    "UINT16": Datatype("<u2", "uint_contents"),
    "UINT32": Datatype("<u4", "uint_contents"),
    "UINT64": Datatype("<u8", "uint64_contents"),
    "INT8": Datatype("i1", "int_contents"),
    "INT16": Datatype("<i2", "int_contents"),
    "INT32": Datatype("<i4", "int_contents"),
    "INT64": Datatype("<i8", "int64_contents"),
    "FP16": Datatype("<f2", ""),
    "FP32": Datatype("<f4", "fp32_contents", rounded=True),
    "FP64": Datatype("<f8", "fp64_contents"),
}

InputTensor = pb.ModelInferRequest.InferInputTensor


@dataclass(slots=True)
class Question:
    """A request after validation."""

    images: bytes  # count x 784
    count: int
    classes: int  # return the k most probable digits; 0: all ten probabilities
    raw: bool  # whether the tensors are raw bytes rather than lists of numbers
    pictures: tuple[bytes, ...] = ()  # `count` encoded pictures instead of images


def question(request: pb.ModelInferRequest, max_images: int, *, pictures: bool = False) -> Question:
    """Validate a request; `pictures` says whether encoded pictures are accepted.

    Raises:
        InvalidRequestError: the input is not one tensor of at most `max_images` images, or a requested
            output does not exist.

    """
    # Each access to a field of a message makes an object, so fields that are used twice have a name.
    inputs, raw = request.inputs, request.raw_input_contents
    if len(inputs) != 1 or (tensor := inputs[0]).name != INPUT:
        names = cut(", ".join(repr(tensor.name) for tensor in inputs) or "none")
        raise InvalidRequestError(f"the request has inputs {names}, expected one, {INPUT!r}")
    _refuse_shared_memory("input", INPUT, tensor.parameters)
    datatype = tensor.datatype
    if datatype == PICTURES:
        if not pictures:
            raise InvalidRequestError(
                f"input {INPUT!r} has datatype BYTES, which needs the server's setting max_picture_bytes"
            )
        encoded = elements(tensor, raw, max_images)
        return Question(b"", len(encoded), _classes(request), bool(raw), encoded)
    count = _count(tensor.shape[:], max_images)
    images = _raw(tensor, datatype, raw, count) if raw else _typed(tensor, datatype, count)
    return Question(images, count, _classes(request), raw=bool(raw))


def timeout_seconds(request: pb.ModelInferRequest) -> float:
    """Return the parameter `timeout` in seconds; infinity without one.

    Raises:
        InvalidRequestError: the parameter is not an int64 of at least 0.

    """
    if "timeout" not in request.parameters:
        return math.inf
    parameter = request.parameters["timeout"]
    if parameter.WhichOneof("parameter_choice") != "int64_param" or parameter.int64_param < 0:
        raise InvalidRequestError("parameter 'timeout' is not an int64 of microseconds, expected 0 or more")
    return parameter.int64_param / MICROSECONDS or math.inf


def answer(asked: Question, probabilities: NDArray[np.float32], response: pb.ModelInferResponse) -> None:
    """Write probabilities (n, 10) to `response` in the requested form."""
    if asked.classes:
        _answer_classes(asked, probabilities, response)
        return
    tensor = response.outputs.add(name=OUTPUT, datatype="FP32", shape=probabilities.shape)
    if asked.raw:
        response.raw_output_contents.append(probabilities.astype("<f4", copy=False).tobytes())
    else:
        tensor.contents.fp32_contents.extend(probabilities.ravel().tolist())


def _count(shape: list[int], max_images: int) -> int:
    if shape[1:] not in IMAGE_SHAPES:
        raise InvalidRequestError(
            f"input {INPUT!r} has shape {cut(str(shape))}, expected one of {_EXPECTED_SHAPES}"
        )
    if not 1 <= shape[0] <= max_images:
        raise InvalidRequestError(f"input {INPUT!r} has {shape[0]} images, expected 1 to {max_images}")
    return shape[0]


def _raw(tensor: InputTensor, datatype: str, contents: Sequence[bytes], count: int) -> bytes:
    if len(contents) != 1:
        raise InvalidRequestError(f"raw_input_contents has {len(contents)} entries, expected one per input")
    if tensor.HasField("contents") and tensor.contents.ByteSize():
        raise InvalidRequestError(f"input {INPUT!r} has contents beside raw_input_contents, expected one")
    content, encoding = contents[0], _encoding(datatype).raw
    size, expected = len(content), count * IMAGE_BYTES * int(encoding[-1])
    if size != expected:
        raise InvalidRequestError(
            f"input {INPUT!r} has {size} bytes, expected {expected}: {datatype} {list(tensor.shape)}"
        )
    if datatype == "UINT8":
        _refuse_scaled_bytes(content, count)
        return content
    return _pixels(np.frombuffer(content, encoding), datatype)


def _typed(tensor: InputTensor, datatype: str, count: int) -> bytes:
    name = _encoding(datatype).contents
    if not name:
        raise InvalidRequestError(f"input {INPUT!r} has datatype FP16, expected raw_input_contents with it")
    numbers = np.array(getattr(tensor.contents, name))
    if len(numbers) != count * IMAGE_BYTES:
        raise InvalidRequestError(
            f"input {INPUT!r} has {len(numbers)} values in {name}, "
            f"expected {count * IMAGE_BYTES}: {list(tensor.shape)}"
        )
    return _pixels(numbers, datatype)


def _pixels(values: NDArray[Any], datatype: str) -> bytes:
    """Convert values 0-255 to bytes; FP32 is rounded, other floats must be whole."""
    low, high = values.min(), values.max()
    if not (low >= 0 and high <= FULL_INK):  # also false for NaN
        raise InvalidRequestError(
            f"input {INPUT!r} has values from {low:g} to {high:g}, expected 0 to {FULL_INK}"
        )
    highest = values.reshape(-1, IMAGE_BYTES).max(axis=1)
    _refuse_scaled(highest)
    rounded = np.rint(values)
    if not DATATYPES[datatype].rounded and (between := np.flatnonzero(rounded != values)).size:
        raise InvalidRequestError(
            f"input {INPUT!r} has the value {values[between[0]]:g}, expected whole numbers in {datatype}"
        )
    pixels: NDArray[np.uint8] = rounded.astype(np.uint8)
    return pixels.tobytes()


def _refuse_scaled_bytes(images: bytes, count: int) -> None:
    if count == 1:
        if not images.lstrip(SCALED):
            _refuse_scaled(np.array([max(images)]))
        return
    pixels = np.frombuffer(images, np.uint8).reshape(count, IMAGE_BYTES)
    if pixels[:, MIDDLE].max(axis=1).min() <= MAX_SCALED:
        _refuse_scaled(pixels.max(axis=1))


def _refuse_scaled(highest: NDArray[Any]) -> None:
    """Refuse images that were scaled to 0-1 or 0-2; a blank image is accepted."""
    scaled = np.flatnonzero((highest > 0) & (highest <= MAX_SCALED))
    if scaled.size:
        raise InvalidRequestError(
            f"image {scaled[0]} of input {INPUT!r} seems to be scaled (its largest value is "
            f"{highest[scaled[0]]:g}), expected 0 to {FULL_INK}"
        )


def _classes(request: pb.ModelInferRequest) -> int:
    outputs = request.outputs
    if not outputs:
        return 0
    if len(outputs) != 1 or (tensor := outputs[0]).name != OUTPUT:
        names = cut(", ".join(repr(tensor.name) for tensor in outputs))
        raise InvalidRequestError(f"the request asks for outputs {names}, expected at most one, {OUTPUT!r}")
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


def _encoding(datatype: str) -> Datatype:
    if (encoding := DATATYPES.get(datatype)) is None:
        raise InvalidRequestError(
            f"input {INPUT!r} has datatype {quoted(datatype)}, expected one of {', '.join(DATATYPES)}"
        )
    return encoding


def _refuse_shared_memory(kind: str, name: str, parameters: Container[str]) -> None:
    if "shared_memory_region" in parameters:
        raise InvalidRequestError(
            f"{kind} {quoted(name)} is in shared memory, expected contents in the message"
        )
