"""A real server, seen from outside."""

import signal
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.digits.v1 import prediction_pb2
from tests.conftest import Publish, linear_answers
from tests.process import WAIT_SECONDS, RunningServer, failure, running

IMAGES = np.random.default_rng(7).integers(0, 256, (200, 784), np.uint8)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository, version=1)
    publish(repository, version=2)
    publish(repository, version=3, metrics={})  # refused: no accuracy
    publish(repository, model="other", version=1)
    with running("--model-repository", repository, "--max-request-images", 300) as server:
        yield server


def test_images_get_their_digits_and_confidences_in_order(server: RunningServer) -> None:
    expected = linear_answers(2, IMAGES)
    response = server.predict(IMAGES.tobytes())
    assert list(response.digits) == expected.argmax(axis=1).tolist()
    np.testing.assert_allclose(response.confidences, expected.max(axis=1), atol=1e-5)
    assert not response.probabilities
    assert (response.model, response.version) == ("digits", 2)
    assert response.timing.compute_us > 0
    assert 1 <= response.timing.batch_images <= 256


def test_probabilities_come_when_asked_for(server: RunningServer) -> None:
    response = server.predict(IMAGES[:3].tobytes(), include_probabilities=True)
    probabilities = np.array(response.probabilities).reshape(3, 10)
    np.testing.assert_allclose(probabilities, linear_answers(2, IMAGES[:3]), atol=1e-5)


@contextmanager
def paused(server: RunningServer) -> Iterator[None]:
    """Suspend the process during a block, so that calls arrive at the same time."""
    server.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        server.process.send_signal(signal.SIGCONT)


def test_concurrent_callers_share_batches_and_get_their_own_answers(server: RunningServer) -> None:
    requests = [prediction_pb2.PredictRequest(images=image.tobytes()) for image in IMAGES]
    server.predict(IMAGES[0].tobytes())  # connects
    largest = []
    for _ in range(10):  # gRPC may send a call later than it was made, even after the pause
        with paused(server):
            calls = [server.stub.Predict.future(request, timeout=WAIT_SECONDS) for request in requests]
        responses = [call.result() for call in calls]
        assert [each.digits[0] for each in responses] == linear_answers(2, IMAGES).argmax(axis=1).tolist()
        largest.append(max(each.timing.batch_images for each in responses))
    assert max(largest) > 1


def test_calls_past_the_most_that_may_be_pending_are_refused_at_once(
    tmp_path: Path, publish: Publish
) -> None:
    publish(tmp_path)
    request = prediction_pb2.PredictRequest(images=IMAGES[0].tobytes())
    codes: Counter[str] = Counter()
    with running("--model-repository", tmp_path, "--max-pending-calls", 2) as server:
        server.predict(IMAGES[0].tobytes())  # connects
        for _ in range(10):  # gRPC may send a call later than it was made, even after the pause
            with paused(server):
                calls = [server.stub.Predict.future(request, timeout=WAIT_SECONDS) for _ in range(64)]
            codes.update(call.code().name for call in calls)
        assert set(codes) == {"OK", "RESOURCE_EXHAUSTED"}
        assert server.predict(IMAGES[0].tobytes()).digits


def test_probes_are_answered_where_other_calls_are_refused(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    request = prediction_pb2.PredictRequest(images=IMAGES[0].tobytes())
    with running("--model-repository", tmp_path, "--max-pending-calls", 2) as server:
        stub = health_pb2_grpc.HealthStub(server.channel)
        server.predict(IMAGES[0].tobytes())  # connects
        for _ in range(10):
            with paused(server):
                calls = [server.stub.Predict.future(request, timeout=WAIT_SECONDS) for _ in range(64)]
                probe = stub.Check.future(health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS)
            assert probe.result().status == health_pb2.HealthCheckResponse.SERVING
            for call in calls:
                call.code()  # waits for its end


def test_stream_answers_in_order_and_batches_its_own_requests(server: RunningServer) -> None:
    sent = threading.Event()

    def requests() -> Iterator[prediction_pb2.PredictRequest]:
        for number, image in enumerate(IMAGES):
            if number == 32:
                sent.set()
            yield prediction_pb2.PredictRequest(images=image.tobytes())

    server.predict(IMAGES[0].tobytes())  # connects
    with paused(server):
        stream = server.stub.PredictStream(requests(), timeout=WAIT_SECONDS)
        assert sent.wait(WAIT_SECONDS)
    responses = list(stream)
    assert [each.digits[0] for each in responses] == linear_answers(2, IMAGES).argmax(axis=1).tolist()
    assert max(each.timing.batch_images for each in responses) > 1


def test_stream_ends_with_the_first_request_that_fails_after_the_answers_before_it(
    server: RunningServer,
) -> None:
    good = prediction_pb2.PredictRequest(images=IMAGES[0].tobytes())
    bad = prediction_pb2.PredictRequest(images=b"short")
    responses = []

    def read() -> None:
        for response in server.stub.PredictStream(iter([good, good, bad, good]), timeout=WAIT_SECONDS):
            responses.append(response)  # noqa: PERF402 - what came before the error is the point

    assert failure(read) == ("INVALID_ARGUMENT", "images has 5 bytes, expected a multiple of 784 (28 x 28)")
    assert len(responses) == 2


def test_model_and_version_may_be_named(server: RunningServer) -> None:
    image = IMAGES[0].tobytes()
    assert server.predict(image, model="other").version == 1
    assert server.predict(image, version=2).version == 2
    assert failure(lambda: server.predict(image, model="cats")) == (
        "NOT_FOUND",
        "no model 'cats'; available: digits, other",
    )
    assert failure(lambda: server.predict(image, version=9)) == (
        "NOT_FOUND",
        "version 9 of model 'digits' does not serve; available: 2",
    )
    assert failure(lambda: server.predict(image, label="canary")) == (
        "NOT_FOUND",
        "model 'digits' has no label 'canary'; available: none",
    )
    assert failure(lambda: server.predict(image, version=2, label="x")) == (
        "INVALID_ARGUMENT",
        "version 2 and label 'x' are both set, expected one of them",
    )


@pytest.mark.parametrize(
    ("size_bytes", "message"),
    [
        (0, "images is empty, expected at least one image of 784 bytes"),
        (783, "images has 783 bytes, expected a multiple of 784 (28 x 28)"),
        (301 * 784, "images has 301 images, expected at most 300"),
    ],
)
def test_request_that_can_never_succeed_says_what_was_expected(
    server: RunningServer, size_bytes: int, message: str
) -> None:
    assert failure(lambda: server.predict(bytes(size_bytes))) == ("INVALID_ARGUMENT", message)


@pytest.mark.parametrize("field", ["model", "label"])
def test_long_name_is_not_found_and_repeated_in_part(server: RunningServer, field: str) -> None:
    fields = {field: "\N{SNOWMAN}" * 20_000}
    code, message = failure(lambda: server.predict(IMAGES[0].tobytes(), **fields))
    assert code == "NOT_FOUND"
    assert len(message) < 600


def test_message_over_the_limit_is_refused_unread(server: RunningServer) -> None:
    code, message = failure(lambda: server.predict(bytes(4000 * 784)))
    assert code == "RESOURCE_EXHAUSTED"
    assert "larger than max" in message


def test_list_models_shows_every_version_and_why_one_was_refused(server: RunningServer) -> None:
    response = server.stub.ListModels(prediction_pb2.ListModelsRequest())
    states = {
        (model.name, model.version): prediction_pb2.Model.State.Name(model.state) for model in response.models
    }
    assert states == {
        ("digits", 3): "STATE_REFUSED",
        ("digits", 2): "STATE_SERVING",
        ("digits", 1): "STATE_AVAILABLE",
        ("other", 1): "STATE_SERVING",
    }
    (reason,) = [model.reason for model in response.models if model.version == 3]
    assert reason == "manifest.json at metrics: Object missing required field test_accuracy"


def test_get_model_tells_the_provenance_of_what_serves(server: RunningServer) -> None:
    model = server.stub.GetModel(prediction_pb2.GetModelRequest())
    assert (model.name, model.version, model.recipe, model.provider) == ("digits", 2, "linear", "cpu")
    assert (model.accuracy, model.created, len(model.sha256)) == (0.5, "2026-01-02T03:04:05Z", 64)


@pytest.mark.parametrize(
    "name", ["", "digits.v1.PredictionService", "inference.GRPCInferenceService", "digits", "other"]
)
def test_health_says_serving_for_the_server_its_service_and_each_model(
    server: RunningServer, name: str
) -> None:
    stub = health_pb2_grpc.HealthStub(server.channel)
    assert stub.Check(health_pb2.HealthCheckRequest(service=name)).status == 1


def test_names_that_callers_make_up_add_no_series(server: RunningServer) -> None:
    server.predict(IMAGES[:1].tobytes())
    before = len(server.get("/metrics")[1].splitlines())
    for number in range(300):
        with pytest.raises(grpc.RpcError):
            server.predict(bytes(784), model=f"model {number}", label=f"label {number}")
    assert server.metric("digits_requests_total", code="NOT_FOUND") >= 300
    assert len(server.get("/metrics")[1].splitlines()) == before


def test_orchestrators_can_probe_over_http(server: RunningServer) -> None:
    assert server.get("/livez") == (200, "live\n")
    assert server.get("/readyz") == (200, "ready\n")
    assert server.get("/nothing") == (404, "no such page; there are /, /metrics, /livez and /readyz\n")


def test_unknown_method_is_unimplemented(server: RunningServer) -> None:
    call = server.channel.unary_unary("/digits.v1.PredictionService/Nothing")
    assert failure(lambda: call(b""))[0] == "UNIMPLEMENTED"
