"""Triton's extensions, with its clients and tools and a real server."""

import io
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from clients import pixels
from tests.conftest import Publish, linear_answers
from tests.graphs import TROUBLE, raising_graph
from tests.process import RunningServer, running

triton = pytest.importorskip("tritonclient.grpc", reason="NOT RUN: tritonclient is in the dev environment")

from tritonclient.utils import InferenceServerException  # noqa: E402 - after the skip

IMAGES = np.random.default_rng(7).integers(0, 256, (12, 784), np.uint8)
PERF_ANALYZER = os.environ.get("PERF_ANALYZER") or shutil.which("perf_analyzer")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository, version=2)
    publish(repository, version=3, graph=b"not a graph")
    publish(repository, model="letters", version=1, graph=raising_graph())
    with running("--model-repository", repository, "--max-request-images", 200) as server:
        yield server


def infer(
    client: Any, images: NDArray[Any], model: str = "digits", datatype: str = "UINT8", **options: Any
) -> Any:
    tensor = triton.InferInput("images", list(images.shape), datatype).set_data_from_numpy(images)
    return client.infer(model, [tensor], **options).as_numpy("probabilities")


def test_configuration_is_one_that_tools_can_generate_requests_from(client: Any) -> None:
    config = client.get_model_config("digits", as_json=True)["config"]
    assert (config["name"], config["max_batch_size"]) == ("digits", 200)
    assert config["input"] == [{"name": "images", "data_type": "TYPE_UINT8", "dims": ["784"]}]
    assert config["output"] == [{"name": "probabilities", "data_type": "TYPE_FP32", "dims": ["10"]}]
    assert config["dynamic_batching"]["preferred_batch_size"]
    with pytest.raises(InferenceServerException, match="no model 'cats'; available: digits, letters"):
        client.get_model_config("cats")


def test_statistics_agree_with_the_metrics(server: RunningServer, client: Any) -> None:
    for count in (1, 3, 3):
        infer(client, IMAGES[:count])
    (counted,) = client.get_inference_statistics("digits").model_stats
    labels = {"model": "digits", "version": "2"}
    calls = server.metric("digits_queue_duration_seconds_count", **labels)
    queue, compute = (
        server.metric(f"digits_{name}_duration_seconds_sum", **labels) * 1e9 for name in ("queue", "compute")
    )
    assert counted.inference_count == server.metric("digits_predictions_total", **labels)
    assert counted.execution_count == server.metric("digits_compute_duration_seconds_count", **labels)
    stats = counted.inference_stats
    assert stats.success.count == stats.queue.count == stats.compute_infer.count == calls
    assert stats.queue.ns == pytest.approx(queue)
    assert stats.success.ns == stats.queue.ns + stats.compute_infer.ns
    batches = {each.batch_size: each.compute_infer for each in counted.batch_stats}
    assert sum(size * each.count for size, each in batches.items()) == counted.inference_count
    assert sum(each.ns for each in batches.values()) == pytest.approx(compute)
    assert counted.last_inference > 0
    assert {each.name for each in client.get_inference_statistics().model_stats} == {"digits", "letters"}


def test_call_that_the_model_fails_on_counts_as_failed(server: RunningServer, client: Any) -> None:
    with pytest.raises(InferenceServerException, match="the model failed on this call's images"):
        infer(client, np.frombuffer(TROUBLE, np.uint8).reshape(1, 784), "letters")
    (counted,) = client.get_inference_statistics("letters", "1").model_stats
    stats = counted.inference_stats
    assert (stats.fail.count, stats.success.count) == (1, 0)
    assert stats.fail.ns > 0
    assert server.metric("digits_failed_calls_total", model="letters") == 1


def test_index_lists_every_version_and_why_it_does_not_serve(client: Any) -> None:
    index = client.get_model_repository_index().models
    states = {(each.name, each.version): each.state for each in index}
    assert states == {("digits", "2"): "READY", ("digits", "3"): "UNAVAILABLE", ("letters", "1"): "READY"}
    (reason,) = [each.reason for each in index if each.reason]
    assert reason.startswith("model.onnx cannot be loaded: ")


def test_repository_decides_and_not_a_caller(client: Any) -> None:
    for call in (client.load_model, client.unload_model):
        with pytest.raises(InferenceServerException, match="the repository decides which versions serve"):
            call("digits")
    assert client.is_model_ready("digits")


def test_timeout_of_a_request_is_a_deadline(client: Any) -> None:
    assert infer(client, IMAGES, timeout=60_000_000).shape == (12, 10)
    with pytest.raises(InferenceServerException) as caught:
        infer(client, IMAGES, timeout=1)
    assert caught.value.status() == "StatusCode.DEADLINE_EXCEEDED"


def test_others_name_of_the_newest_version_gets_a_hint(client: Any) -> None:
    with pytest.raises(InferenceServerException, match="without a version, the server chooses"):
        infer(client, IMAGES, model_version="latest")


@pytest.mark.skipif(PERF_ANALYZER is None, reason="NOT RUN: needs perf_analyzer; PERF_ANALYZER names it")
def test_load_generator_reports_what_the_server_measured(server: RunningServer) -> None:
    report = subprocess.run(
        [
            *(str(PERF_ANALYZER), "-m", "digits", "-u", server.address, "-i", "grpc"),
            *("--concurrency-range", "1:64:63", "--measurement-mode", "count_windows"),
            *("--measurement-request-count", "50", "-s", "999"),  # a report, and not a stable measurement
        ],
        capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    times = re.findall(r"queue (\d+) usec \+ compute input \d+ usec \+ compute infer (\d+) usec", report)
    assert len(times) == 2
    assert all(int(compute) > 0 for _, compute in times)


def test_callers_load_and_unload_models_where_the_setting_lets_them(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    publish(tmp_path, model="letters")
    with (
        running("--model-repository", tmp_path, "--model-control") as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        client.unload_model("letters")
        assert not client.is_model_ready("letters")
        with pytest.raises(InferenceServerException, match="no version of model 'letters' serves"):
            infer(client, IMAGES, "letters")
        client.load_model("letters")
        assert infer(client, IMAGES, "letters").shape == (12, 10)
        publish(tmp_path, model="later")
        client.load_model("later")  # which waits until it serves
        assert infer(client, IMAGES, "later").shape == (12, 10)
        with pytest.raises(InferenceServerException, match="the repository has no model 'cats'"):
            client.load_model("cats")
        publish(tmp_path, model="broken", graph=b"not a graph")
        with pytest.raises(
            InferenceServerException, match=r"model 'broken': version 1: model.onnx cannot be"
        ):
            client.load_model("broken")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[Any]:
    """A client of a server that takes encoded pictures."""
    repository = tmp_path_factory.mktemp("repository")
    publish(repository, version=2)
    with (
        running("--model-repository", repository, "--max-picture-bytes", 5000) as server,
        triton.InferenceServerClient(server.address) as client,
    ):
        yield client


def encoded(picture: Image.Image, kind: str = "PNG") -> bytes:
    content = io.BytesIO()
    picture.save(content, kind)
    return content.getvalue()


def infer_pictures(client: Any, *contents: bytes) -> Any:
    tensor = triton.InferInput("images", [len(contents)], "BYTES")
    tensor.set_data_from_numpy(np.array(contents, object))
    return client.infer("digits", [tensor]).as_numpy("probabilities")


def test_picture_gets_the_answer_that_its_pixels_get(pictures: Any) -> None:
    images = np.where(IMAGES[:3] < 220, 0, IMAGES[:3])  # mostly paper
    contents = [encoded(Image.fromarray(image.reshape(28, 28))) for image in images]
    np.testing.assert_allclose(infer_pictures(pictures, *contents), linear_answers(2, images), atol=1e-5)


def test_photograph_is_prepared_as_the_client_prepares_it(pictures: Any) -> None:
    drawing = Image.new("L", (200, 300), 230)
    ImageDraw.Draw(drawing).line([(100, 60), (100, 240)], fill=20, width=14)
    content = encoded(drawing, "JPEG")
    answers = infer_pictures(pictures, content)
    np.testing.assert_allclose(answers, linear_answers(2, pixels(content)), atol=1e-5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"hello", "picture 1: not a picture .*, expected PNG, JPEG"),
        (bytes(5001), "picture 1 has 5001 bytes, expected at most 5000"),
        (encoded(Image.new("L", (100, 100), 255)), "picture 1: nothing is drawn on it"),
    ],
    ids=["text", "large", "blank"],
)
def test_content_that_is_no_picture_of_a_digit_is_refused_by_its_number(
    pictures: Any, content: bytes, message: str
) -> None:
    good = encoded(Image.fromarray(IMAGES[0].reshape(28, 28)))
    with pytest.raises(InferenceServerException, match=message) as caught:
        infer_pictures(pictures, good, content)
    assert caught.value.status() == "StatusCode.INVALID_ARGUMENT"


def test_more_pictures_than_ever_may_wait_are_refused(pictures: Any) -> None:
    with pytest.raises(InferenceServerException, match="has 257 pictures, expected at most 256"):
        infer_pictures(pictures, *[b"1"] * 257)


def test_pictures_are_refused_unless_the_setting_takes_them(client: Any) -> None:
    with pytest.raises(
        InferenceServerException, match="BYTES, which needs the server's setting max_picture_bytes"
    ):
        infer_pictures(client, b"1")
