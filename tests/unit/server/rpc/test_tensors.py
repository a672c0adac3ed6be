"""Images of the Open Inference Protocol in every datatype, and scaled images."""

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from protos import inference_pb2 as pb
from server.errors import InvalidRequestError
from server.rpc.tensors import DATATYPES, question, timeout_seconds

IMAGES = np.random.default_rng(7).integers(0, 128, (3, 784), np.uint8)  # of INT8 too


def request(images: NDArray[Any], datatype: str, *, raw: bool = True) -> pb.ModelInferRequest:
    message = pb.ModelInferRequest()
    tensor = message.inputs.add(name="images", datatype=datatype, shape=[len(images), 784])
    if raw:
        message.raw_input_contents.append(images.astype(DATATYPES[datatype].raw).tobytes())
    else:
        getattr(tensor.contents, DATATYPES[datatype].contents).extend(images.ravel().tolist())
    return message


def read(images: NDArray[Any], datatype: str, *, raw: bool = True) -> bytes:
    return question(request(images, datatype, raw=raw), 1000).images


def refusal(images: NDArray[Any], datatype: str, *, raw: bool = True) -> str:
    with pytest.raises(InvalidRequestError) as caught:
        read(images, datatype, raw=raw)
    return str(caught.value)


@pytest.mark.parametrize("datatype", DATATYPES)
def test_whole_pixels_are_taken_in_every_datatype(datatype: str) -> None:
    assert read(IMAGES, datatype) == IMAGES.tobytes()
    if DATATYPES[datatype].contents:
        assert read(IMAGES, datatype, raw=False) == IMAGES.tobytes()


def test_half_floats_have_no_typed_contents() -> None:
    message = request(IMAGES, "FP16")
    del message.raw_input_contents[:]
    with pytest.raises(InvalidRequestError, match="datatype FP16, expected raw_input_contents with it"):
        question(message, 1000)


@pytest.mark.parametrize(
    ("value", "datatype", "message"),
    [
        (256, "INT64", "input 'images' has values from 0 to 256, expected 0 to 255"),
        (-1, "INT8", "input 'images' has values from -1 to 127, expected 0 to 255"),
        (2**40, "UINT64", "input 'images' has values from 0 to 1.09951e+12, expected 0 to 255"),
        (np.nan, "FP64", "input 'images' has values from nan to nan, expected 0 to 255"),
        (np.inf, "FP16", "input 'images' has values from 0 to inf, expected 0 to 255"),
        (7.5, "FP64", "input 'images' has the value 7.5, expected whole numbers in FP64"),
        (7.5, "FP16", "input 'images' has the value 7.5, expected whole numbers in FP16"),
    ],
)
def test_values_that_are_no_pixels_are_refused(value: float, datatype: str, message: str) -> None:
    images = IMAGES.astype(np.float64 if datatype.startswith("FP") else np.int64)
    images[1, 5] = value
    assert refusal(images, datatype) == message


def test_floats_of_32_bits_are_rounded() -> None:
    assert read(IMAGES + 0.4, "FP32") == IMAGES.tobytes()


@pytest.mark.parametrize("count", [1, 2, 20])
@pytest.mark.parametrize(
    ("datatype", "scale"), [("FP32", 1 / 127), ("FP64", 1 / 127), ("FP32", 2 / 127), ("UINT8", 1 / 127)]
)
def test_one_scaled_image_is_named_among_others_that_are_not(count: int, datatype: str, scale: float) -> None:
    images = np.full((count, 784), 127, np.float64)
    images[-1] *= scale
    images[-1, :100] = 0
    message = refusal(images, datatype)
    assert message.startswith(
        f"image {count - 1} of input 'images' seems to be scaled (its largest value is "
    )
    assert message.endswith("), expected 0 to 255")


@pytest.mark.parametrize("datatype", ["UINT8", "FP32", "INT32"])
@pytest.mark.parametrize("count", [1, 2, 20])
def test_empty_and_faint_images_are_taken(datatype: str, count: int) -> None:
    assert read(np.zeros((count, 784), np.uint8), datatype) == bytes(count * 784)
    assert read(np.full((count, 784), 3, np.uint8), datatype) == bytes([3]) * count * 784


def test_timeout_is_microseconds_and_nothing_else() -> None:
    message = request(IMAGES, "UINT8")
    assert timeout_seconds(message) == np.inf
    message.parameters["timeout"].int64_param = 1500
    assert timeout_seconds(message) == 0.0015
    message.parameters["timeout"].int64_param = 0  # none, as Triton reads it
    assert timeout_seconds(message) == np.inf
    for name, value in (("int64_param", -1), ("string_param", "1500")):
        setattr(message.parameters["timeout"], name, value)
        with pytest.raises(InvalidRequestError, match="'timeout' is not an int64 of microseconds"):
            timeout_seconds(message)
