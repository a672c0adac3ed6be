"""The Open Inference Protocol, with tritonclient and a real server."""

import queue
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from tests.conftest import Publish, linear_answers
from tests.process import WAIT_SECONDS, RunningServer, running

triton = pytest.importorskip("tritonclient.grpc", reason="NOT RUN: tritonclient is in the dev environment")

from tritonclient.grpc import aio as triton_aio  # noqa: E402 - after the skip
from tritonclient.grpc import service_pb2 as pb  # noqa: E402
from tritonclient.grpc import service_pb2_grpc  # noqa: E402
from tritonclient.utils import InferenceServerException, triton_to_np_dtype  # noqa: E402

IMAGES = np.random.default_rng(7).integers(0, 256, (100, 784), np.uint8)
ANSWERS = linear_answers(2, IMAGES)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository, version=2)
    with running("--model-repository", repository, "--max-request-images", 200) as server:
        yield server


def tensor(images: NDArray[Any], datatype: str = "UINT8") -> Any:
    return triton.InferInput("images", list(images.shape), datatype).set_data_from_numpy(images)


def probabilities(result: Any) -> NDArray[np.float32]:
    array: NDArray[np.float32] = result.as_numpy("probabilities")
    return array


def failure(client: Any, *arguments: Any, **options: Any) -> tuple[str, str]:
    with pytest.raises(InferenceServerException) as caught:
        client.infer(*arguments, **options)
    return caught.value.status(), caught.value.message()


def test_server_is_live_ready_and_named(client: Any) -> None:
    assert client.is_server_live()
    assert client.is_server_ready()
    metadata = client.get_server_metadata()
    assert (metadata.name, list(metadata.extensions)) == (
        "digit-server",
        ["classification", "model_configuration", "model_repository", "statistics"],
    )
    assert metadata.version


def test_model_is_ready_and_others_are_not(client: Any) -> None:
    assert client.is_model_ready("digits")
    assert client.is_model_ready("digits", "2")
    assert not client.is_model_ready("digits", "9")
    assert not client.is_model_ready("cats")


def test_metadata_describes_the_tensors(client: Any) -> None:
    metadata = client.get_model_metadata("digits", as_json=True)
    assert metadata["versions"] == ["2"]
    assert metadata["platform"] == "onnxruntime_onnx"
    assert metadata["inputs"] == [{"name": "images", "datatype": "UINT8", "shape": ["-1", "784"]}]
    assert metadata["outputs"] == [{"name": "probabilities", "datatype": "FP32", "shape": ["-1", "10"]}]


@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1), (1, 28, 28)])
@pytest.mark.parametrize("datatype", ["UINT8", "INT16", "UINT64", "FP32", "FP64"])
def test_images_of_every_shape_and_type_get_the_same_probabilities(
    client: Any, shape: tuple[int, ...], datatype: str
) -> None:
    images = IMAGES.reshape(-1, *shape).astype(triton_to_np_dtype(datatype))
    result = client.infer("digits", [tensor(images, datatype)], request_id="a-7")
    np.testing.assert_allclose(probabilities(result), ANSWERS, atol=1e-5)
    response = result.get_response()
    assert (response.id, response.model_name, response.model_version) == ("a-7", "digits", "2")
    assert not response.outputs[0].contents.ByteSize()  # asked raw, answered raw


@pytest.mark.parametrize(("field", "datatype"), [("uint_contents", "UINT8"), ("fp32_contents", "FP32")])
def test_typed_contents_are_answered_typed(server: RunningServer, field: str, datatype: str) -> None:
    request = pb.ModelInferRequest(model_name="digits", model_version="2", id="typed")
    contents = request.inputs.add(name="images", datatype=datatype, shape=[3, 784]).contents
    getattr(contents, field).extend(IMAGES[:3].ravel().tolist())
    response = service_pb2_grpc.GRPCInferenceServiceStub(server.channel).ModelInfer(request)
    answered = np.array(response.outputs[0].contents.fp32_contents).reshape(response.outputs[0].shape)
    np.testing.assert_allclose(answered, ANSWERS[:3], atol=1e-5)
    assert (response.id, len(response.raw_output_contents)) == ("typed", 0)


def test_classification_gives_the_most_probable_digits(client: Any) -> None:
    asked = triton.InferRequestedOutput("probabilities", class_count=3)
    best = client.infer("digits", [tensor(IMAGES)], outputs=[asked]).as_numpy("probabilities")
    assert best.shape == (100, 3)
    scores, digits = zip(*(element.decode().split(":") for element in best.ravel()), strict=True)
    expected = np.argsort(-ANSWERS, axis=1)[:, :3]
    assert [int(digit) for digit in digits] == expected.ravel().tolist()
    np.testing.assert_allclose(
        np.array(scores, float).reshape(-1, 3), np.take_along_axis(ANSWERS, expected, 1), atol=1e-5
    )


async def test_asyncio_client_gets_the_same(server: RunningServer) -> None:
    async with triton_aio.InferenceServerClient(server.address) as client:
        assert await client.is_model_ready("digits")
        result = await client.infer("digits", [tensor(IMAGES)])
    np.testing.assert_allclose(probabilities(result), ANSWERS, atol=1e-5)


def test_stream_is_answered_in_order_and_survives_a_bad_request(client: Any) -> None:
    answers: queue.Queue[tuple[Any, Any]] = queue.Queue()
    client.start_stream(lambda result, error: answers.put((result, error)))
    try:
        for number, image in enumerate(IMAGES):
            model = "cats" if number == 50 else "digits"
            client.async_stream_infer(model, [tensor(image[None])], request_id=str(number))
        for number in range(len(IMAGES)):
            result, error = answers.get(timeout=WAIT_SECONDS)
            if number == 50:
                assert "no model 'cats'; available: digits" in str(error)
                continue
            assert error is None
            assert result.get_response().id == str(number)
            np.testing.assert_allclose(probabilities(result)[0], ANSWERS[number], atol=1e-5)
    finally:
        client.stop_stream()


async def test_asyncio_stream_is_answered_in_order(server: RunningServer) -> None:
    async def requests() -> Any:
        for image in IMAGES:
            yield {"model_name": "digits", "inputs": [tensor(image[None])]}

    async with triton_aio.InferenceServerClient(server.address) as client:
        answered = [probabilities(result)[0] async for result, _ in client.stream_infer(requests())]
    np.testing.assert_allclose(answered, ANSWERS, atol=1e-5)


@pytest.mark.parametrize(("model", "version"), [("cats", ""), ("digits", "9"), ("digits", "canary")])
def test_unknown_model_version_or_label_is_not_found(client: Any, model: str, version: str) -> None:
    status, message = failure(client, model, [tensor(IMAGES)], model_version=version)
    assert status == "StatusCode.NOT_FOUND"
    assert (version or model) in message


@pytest.mark.parametrize(
    ("images", "datatype", "message"),
    [
        (IMAGES.reshape(-1, 56, 14), "UINT8",
         ("input 'images' has shape [100, 56, 14], expected one of "
          "[N, 784], [N, 28, 28], [N, 28, 28, 1], [N, 1, 28, 28]")),
        (IMAGES[0], "UINT8", "input 'images' has shape [784], expected one of"),
        (IMAGES[:0], "UINT8", "input 'images' has 0 images, expected 1 to 200"),
        (np.zeros((201, 784), np.uint8), "UINT8", "input 'images' has 201 images, expected 1 to 200"),
        (IMAGES.astype(bool), "BOOL", "input 'images' has datatype 'BOOL', expected one of UINT8, UINT16, "),
        (IMAGES.astype(np.float32) - 1, "FP32",
         "input 'images' has values from -1 to 254, expected 0 to 255"),
        (np.full((1, 784), np.nan, np.float32), "FP32", "input 'images' has values from nan to nan"),
        (IMAGES.astype(np.float32) / 255, "FP32", "image 0 of input 'images' seems to be scaled (its"),
    ],
)  # fmt: skip
def test_tensor_that_is_no_image_says_what_was_expected(
    client: Any, images: NDArray[Any], datatype: str, message: str
) -> None:
    status, actual = failure(client, "digits", [tensor(images, datatype)])
    assert status == "StatusCode.INVALID_ARGUMENT"
    assert actual.startswith(message)


def _request(**fields: Any) -> pb.ModelInferRequest:
    inputs = [{"name": "images", "datatype": "UINT8", "shape": [1, 784]}]
    return pb.ModelInferRequest(**({"model_name": "digits", "inputs": inputs} | fields))


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (_request(inputs=[]), "the request has inputs none, expected one, 'images'"),
        (_request(inputs=[{"name": "x"}]), "the request has inputs 'x', expected one, 'images'"),
        (_request(), "input 'images' has 0 values in uint_contents, expected 784: [1, 784]"),
        (_request(raw_input_contents=[bytes(783)]),
         "input 'images' has 783 bytes, expected 784: UINT8 [1, 784]"),
        (_request(raw_input_contents=[bytes(784)] * 2),
         "raw_input_contents has 2 entries, expected one per input"),
        (_request(inputs=[{"name": "images", "datatype": "UINT8", "shape": [1, 784],
                           "contents": {"uint_contents": [1]}}], raw_input_contents=[bytes(784)]),
         "input 'images' has contents beside raw_input_contents, expected one"),
        (_request(inputs=[{"name": "images", "datatype": "UINT8", "shape": [1, 784],
                           "parameters": {"shared_memory_region": {"string_param": "r"}}}]),
         "input 'images' is in shared memory, expected contents in the message"),
        (_request(raw_input_contents=[bytes(784)], outputs=[{"name": "digits"}]),
         "the request asks for outputs 'digits', expected at most one, 'probabilities'"),
        (_request(raw_input_contents=[bytes(784)],
                  outputs=[{"name": "probabilities", "parameters": {"classification": {"int64_param": 11}}}]),
         "output 'probabilities' has classification 11, expected int64 1 to 10"),
    ],
)  # fmt: skip
def test_request_that_can_never_succeed_names_the_tensor(
    server: RunningServer, request_: pb.ModelInferRequest, message: str
) -> None:
    call = service_pb2_grpc.GRPCInferenceServiceStub(server.channel).ModelInfer.with_call
    with pytest.raises(Exception) as caught:  # noqa: PT011 - the stub raises grpc's error of the call
        call(request_)
    assert (caught.value.code().name, caught.value.details()) == ("INVALID_ARGUMENT", message)


def test_one_process_may_hold_our_messages_and_those_of_another_library() -> None:
    from protos import inference_pb2  # noqa: PLC0415 - after the other's

    ours = inference_pb2.ModelInferRequest(model_name="digits", id="7")
    assert pb.ModelInferRequest.FromString(ours.SerializeToString()).id == "7"
