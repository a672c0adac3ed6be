"""Every metric after known traffic, with one process and with two workers."""

import os
import shutil
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from copy import copy
from itertools import cycle
from pathlib import Path
from threading import Event
from typing import Any

import grpc
import numpy as np
import pytest

from protos import inference_pb2
from protos.digits.v1 import prediction_pb2 as pb
from protos.digits.v1 import prediction_pb2_grpc
from server.observability.table import CODES
from tests.conftest import Publish, linear_answers
from tests.process import WAIT_SECONDS, RunningServer, Scrape, running

IMAGES = np.random.default_rng(3).integers(0, 2, (600, 784), np.uint8) * 255
PREDICTION, INFERENCE = "digits.v1.PredictionService", "inference.GRPCInferenceService"
REQUEST_IMAGES = 500


class Caller:
    """Calls on several connections, so that two workers both get some; counts its calls."""

    def __init__(self, server: RunningServer, stack: ExitStack) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        self._channels = cycle(
            [stack.enter_context(grpc.insecure_channel(server.address, options)) for _ in range(8)]
        )
        self.ended: dict[tuple[str, str, str], int] = {}
        self.asked: list[np.ndarray[Any, Any]] = []  # the images that were predicted
        self.requests = 0  # that were predicted

    def _count(self, service: str, method: str, code: str) -> None:
        key = (service, method, code)
        self.ended[key] = self.ended.get(key, 0) + 1

    def _predicted(self, images: np.ndarray[Any, Any], requests: int = 1) -> None:
        self.asked.append(images)
        self.requests += requests

    def predict(self, count: int, expect: str = "OK", cut: int = 0, **fields: Any) -> None:
        content = IMAGES[:count].tobytes()
        request = pb.PredictRequest(images=content[: len(content) - cut], **fields)
        try:
            prediction_pb2_grpc.PredictionServiceStub(next(self._channels)).Predict(
                request, timeout=WAIT_SECONDS
            )
        except grpc.RpcError as error:
            assert error.code().name == expect  # noqa: PT017 - which of several is the parameter
        else:
            assert expect == "OK"
            self._predicted(IMAGES[:count])
        self._count(PREDICTION, "Predict", expect)

    def infer(self, count: int) -> None:
        tensor = inference_pb2.ModelInferRequest.InferInputTensor(
            name="images", datatype="UINT8", shape=[count, 784]
        )
        request = inference_pb2.ModelInferRequest(
            model_name="digits", inputs=[tensor], raw_input_contents=[IMAGES[:count].tobytes()]
        )
        call = next(self._channels).unary_unary(
            f"/{INFERENCE}/ModelInfer",
            inference_pb2.ModelInferRequest.SerializeToString,
            inference_pb2.ModelInferResponse.FromString,
        )
        call(request, timeout=WAIT_SECONDS)
        self._predicted(IMAGES[:count])
        self._count(INFERENCE, "ModelInfer", "OK")

    def stream(self, messages: int, *, cancel: bool = False) -> None:
        def requests() -> Iterator[pb.PredictRequest]:
            yield from [pb.PredictRequest(images=IMAGES[0].tobytes())] * messages
            if cancel:
                done.wait(WAIT_SECONDS)

        done = Event()
        stub = prediction_pb2_grpc.PredictionServiceStub(next(self._channels))
        answers = stub.PredictStream(requests(), timeout=WAIT_SECONDS)
        for _ in range(messages):
            next(answers)
        if cancel:
            answers.cancel()
            done.set()
        else:
            assert not list(answers)
        self._predicted(np.repeat(IMAGES[:1], messages, axis=0), messages)
        self._count(PREDICTION, "PredictStream", "CANCELLED" if cancel else "OK")


def traffic(caller: Caller) -> None:
    """Send calls of several sizes and kinds, and every error that is reproducible."""
    for count in (*[1] * 20, *[10] * 4, 300):  # the last is split
        caller.predict(count)
    for count in (1, 1, 64):
        caller.infer(count)
    caller.stream(5)
    caller.stream(3, cancel=True)
    for _ in range(2):
        caller.predict(1, "INVALID_ARGUMENT", cut=1)
        caller.predict(1, "NOT_FOUND", model="cats")
        caller.predict(REQUEST_IMAGES + 1, "INVALID_ARGUMENT")
    caller.predict(1, "NOT_FOUND", version=99)
    caller.predict(1, "INVALID_ARGUMENT", version=1, label="stable")


def settled(server: RunningServer, caller: Caller) -> Scrape:
    """Read the metrics when they are complete: workers report every second."""
    server.reaches("digits_requests_total", sum(caller.ended.values()))
    return server.scrape()


def check_calls(scrape: Scrape, caller: Caller) -> None:
    for service, methods in {PREDICTION: ("Predict", "PredictStream"), INFERENCE: ("ModelInfer",)}.items():
        for method in methods:
            counted = {
                code: int(scrape.metric("digits_requests_total", service=service, method=method, code=code))
                for code in CODES
            }
            expected = {code: caller.ended.get((service, method, code), 0) for code in CODES}
            if method == "PredictStream":  # gRPC may show a cancelled stream as one that ended
                ends = [
                    {code: each.pop(code) for code in ("OK", "CANCELLED")} for each in (counted, expected)
                ]
                assert sum(ends[0].values()) == sum(ends[1].values())
            assert counted == expected, method
            calls = sum(count for key, count in caller.ended.items() if key[1] == method)
            name = "digits_request_duration_seconds"
            assert scrape.metric(f"{name}_count", method=method) == calls
            assert scrape.metric(f"{name}_bucket", method=method, le="+Inf") == calls
    assert scrape.metric("digits_requests_total") == sum(caller.ended.values())
    assert scrape.metric("digits_rejected_total") == 0
    for method in ("Predict", "ModelInfer"):
        stages = scrape.metric("digits_request_stage_seconds_total", method=method)
        assert stages == pytest.approx(scrape.metric("digits_request_duration_seconds_sum", method=method))


def check_version(scrape: Scrape, caller: Caller, version: int) -> None:
    images = np.concatenate(caller.asked)
    expected = np.bincount(linear_answers(version, images).argmax(axis=1), minlength=10)
    labels = {"model": "digits", "version": str(version)}
    counted = [scrape.metric("digits_predictions_total", **labels, digit=str(digit)) for digit in range(10)]
    assert counted == expected.tolist()
    assert scrape.metric("digits_batch_images_sum", **labels) == len(images)
    assert scrape.metric("digits_confidence_count", **labels) == len(images)
    assert scrape.metric("digits_ink_ratio_count", **labels) == len(images)
    assert scrape.metric("digits_ink_ratio_sum", **labels) == pytest.approx((images > 0).sum() / 784)
    assert scrape.metric("digits_queue_duration_seconds_count", **labels) == caller.requests
    batches = scrape.metric("digits_batch_images_count", **labels)
    assert scrape.metric("digits_compute_duration_seconds_count", **labels) == batches
    assert scrape.metric("digits_failed_calls_total", **labels) == 0


def check_rest(scrape: Scrape) -> None:
    assert scrape.metric("digits_inflight_images") == scrape.metric("digits_queue_images") == 0
    assert scrape.metric("digits_repository_problems") == 0
    assert scrape.metric("digits_model_info") == scrape.metric("digits_build_info") == 1


def replace_version(server: RunningServer, folder: Path, workers: int) -> None:
    """Remove a served version, and wait until no worker has it."""
    shutil.rmtree(folder)
    server.process.send_signal(signal.SIGHUP)
    for _ in range(workers):
        assert server.event("version released")["version"] == int(folder.name)


@pytest.mark.parametrize("workers", [1, 2])
def test_every_number_is_exact_through_a_version_swap_and_a_killed_worker(
    tmp_path: Path, publish: Publish, workers: int
) -> None:
    publish(tmp_path)
    options = ("--workers", workers, "--max-request-images", REQUEST_IMAGES, "--repository-poll-seconds", 0)
    with running("--model-repository", tmp_path, *options) as server, ExitStack() as stack:
        caller = Caller(server, stack)
        traffic(caller)
        scrape = settled(server, caller)
        check_calls(scrape, caller)
        check_version(scrape, caller, 1)
        assert scrape.metric("digits_batches_total") == scrape.metric("digits_batch_images_count")
        check_rest(scrape)

        publish(tmp_path, version=2)
        replace_version(server, tmp_path / "digits" / "1", workers)
        calls_of_version_1 = copy(caller)
        caller.asked, caller.requests = [], 0
        traffic(caller)
        scrape = settled(server, caller)
        check_calls(scrape, caller)
        check_version(scrape, caller, 2)
        assert scrape.metric("digits_model_load_total", result="loaded") == 2 * workers
        assert not scrape.metric("digits_predictions_total", version="1")
        check_rest(scrape)

        if workers == 2:
            server.workers[0].kill()
            assert server.event("worker died")["exit_code"] == -signal.SIGKILL
            scrape = server.scrape()
            check_calls(scrape, caller)
            check_version(scrape, caller, 2)
            server.event("worker ready")
            assert {worker.nice() for worker in server.workers} == {os.nice(0)}  # it gave way only to start
            for name in ("0", "1", "supervisor"):
                assert server.metric("process_resident_memory_bytes", worker=name) > 0
            traffic(caller)
            scrape = settled(server, caller)
            check_calls(scrape, caller)
            check_version(scrape, caller, 2)
            check_rest(scrape)

        publish(tmp_path, version=1)
        replace_version(server, tmp_path / "digits" / "2", workers)
        scrape = server.scrape()
        check_version(scrape, calls_of_version_1, 1)  # its series continue
        check_rest(scrape)
        assert scrape.metric("digits_workers") == workers
        assert scrape.metric("digits_worker_restarts_total") == workers - 1
