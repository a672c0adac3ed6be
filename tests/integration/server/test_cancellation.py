"""Cancelled calls of every kind: other callers get their answers, and nothing leaks."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import grpc
import numpy as np
import pytest

from protos import inference_pb2
from protos.digits.v1 import prediction_pb2, prediction_pb2_grpc
from tests.conftest import Publish, linear_answers
from tests.process import WAIT_SECONDS, RunningServer, running, until

IMAGES = np.random.default_rng(3).integers(0, 256, (1000, 784), np.uint8)
DIGITS = linear_answers(1, IMAGES).argmax(axis=1).tolist()


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository)
    # Room for all of them: this is not about overload.
    with running("--model-repository", repository, "--max-pending-calls", 2000) as server:
        yield server


@asynccontextmanager
async def channel(server: RunningServer) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(server.address) as opened:
        await opened.channel_ready()
        yield opened


def request(number: int) -> prediction_pb2.PredictRequest:
    return prediction_pb2.PredictRequest(images=IMAGES[number].tobytes())


def question(number: int) -> inference_pb2.ModelInferRequest:
    tensor = inference_pb2.ModelInferRequest.InferInputTensor(name="images", datatype="UINT8", shape=[1, 784])
    return inference_pb2.ModelInferRequest(
        model_name="digits", inputs=[tensor], raw_input_contents=[IMAGES[number].tobytes()]
    )


async def emptied(server: RunningServer) -> None:
    """Wait until the server holds no calls and images."""
    await asyncio.to_thread(until, lambda: server.metric("digits_inflight_images") == 0)


async def test_a_tenth_of_the_callers_cancels_and_the_others_are_right(server: RunningServer) -> None:
    async with channel(server) as opened:
        stub = prediction_pb2_grpc.PredictionServiceStub(opened)  # type: ignore[no-untyped-call]
        calls = [stub.Predict(request(number), timeout=WAIT_SECONDS) for number in range(len(IMAGES))]
        await asyncio.sleep(0)
        for call in calls[::10]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number % 10:
            assert isinstance(answer, prediction_pb2.PredictResponse), answer
            assert list(answer.digits) == [DIGITS[number]]
    await emptied(server)


async def test_the_same_by_the_open_inference_protocol(server: RunningServer) -> None:
    async with channel(server) as opened:
        infer = opened.unary_unary(
            "/inference.GRPCInferenceService/ModelInfer",
            inference_pb2.ModelInferRequest.SerializeToString,
            inference_pb2.ModelInferResponse.FromString,
        )
        calls = [infer(question(number), timeout=WAIT_SECONDS) for number in range(300)]
        await asyncio.sleep(0)
        for call in calls[::10]:
            call.cancel()
        answers = await asyncio.gather(*calls, return_exceptions=True)
    for number, answer in enumerate(answers):
        if number % 10:
            assert isinstance(answer, inference_pb2.ModelInferResponse), answer
            probabilities = np.frombuffer(answer.raw_output_contents[0], np.float32)
            assert probabilities.argmax() == DIGITS[number]
    await emptied(server)


async def test_a_stream_that_is_cancelled_leaves_the_others_alone(server: RunningServer) -> None:
    async def answers(call: Any, most: int) -> list[int]:
        found = []
        async for answer in call:
            found += list(answer.digits)
            if len(found) == most:
                call.cancel()
                break
        return found

    async with channel(server) as opened:
        stub = prediction_pb2_grpc.PredictionServiceStub(opened)  # type: ignore[no-untyped-call]
        streams = [stub.PredictStream(map(request, range(200)), timeout=WAIT_SECONDS) for _ in range(4)]
        results = await asyncio.gather(
            *(answers(stream, 5 if index % 2 else 1000) for index, stream in enumerate(streams))
        )
    assert results == [DIGITS[:200], DIGITS[:5], DIGITS[:200], DIGITS[:5]]
    await emptied(server)


async def test_callers_whose_deadline_passes_leave_nothing_behind(server: RunningServer) -> None:
    async with channel(server) as opened:
        stub = prediction_pb2_grpc.PredictionServiceStub(opened)  # type: ignore[no-untyped-call]
        late = [stub.Predict(request(number), timeout=0.002) for number in range(200)]
        in_time = [stub.Predict(request(number), timeout=WAIT_SECONDS) for number in range(200)]
        codes = {await call.code() for call in late}
        digits = [list((await call).digits) for call in in_time]
    assert codes <= {
        grpc.StatusCode.OK,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,  # told at once that there is no time for it
    }
    assert digits == [[digit] for digit in DIGITS[:200]]
    await emptied(server)
