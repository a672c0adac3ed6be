"""Start and stop of a real server."""

import signal
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.digits.v1 import prediction_pb2
from tests.conftest import Publish
from tests.process import WAIT_SECONDS, RunningServer, ServerProcess, failed_start, failure, running


@pytest.fixture
def repository(tmp_path: Path, publish: Publish) -> Path:
    publish(tmp_path)
    return tmp_path


@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_the_server_cleanly(repository: Path, signum: signal.Signals) -> None:
    server = RunningServer("--model-repository", repository)
    server.process.send_signal(signum)
    assert server.event("draining")["signal"] == signum.name
    assert server.wait() == 0
    assert '"stopped"' in server.lines[-1]


def test_draining_server_answers_and_says_that_it_is_going(repository: Path) -> None:
    server = RunningServer("--model-repository", repository, "--drain-seconds", 60)
    stub = health_pb2_grpc.HealthStub(server.channel)
    watch = stub.Watch(health_pb2.HealthCheckRequest(service="digits"), timeout=WAIT_SECONDS)
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    server.process.terminate()
    assert next(watch).status == health_pb2.HealthCheckResponse.NOT_SERVING
    assert server.get("/readyz") == (503, "not ready\n")
    assert server.get("/livez") == (200, "live\n")
    assert server.predict(bytes(784)).model == "digits"
    server.process.terminate()  # the second signal does not wait for the drain
    assert server.wait() == -signal.SIGTERM


def test_calls_in_flight_at_the_stop_are_answered(repository: Path) -> None:
    server = RunningServer("--model-repository", repository)
    calls = []
    enough = threading.Event()

    def call_until_refused() -> None:
        while True:
            try:
                calls.append(server.predict(bytes(64 * 784)).digits)
            except grpc.RpcError as error:
                calls.append(error.code())  # type: ignore[attr-defined]
                return
            if len(calls) > 20:
                enough.set()

    threads = [threading.Thread(target=call_until_refused) for _ in range(8)]
    for thread in threads:
        thread.start()
    assert enough.wait(WAIT_SECONDS)
    server.process.terminate()
    for thread in threads:
        thread.join(WAIT_SECONDS)
    assert server.wait() == 0
    refusals = [call for call in calls if isinstance(call, grpc.StatusCode)]
    assert refusals == [grpc.StatusCode.UNAVAILABLE] * 8  # nothing accepted was cancelled or lost


def test_idle_streams_and_watchers_do_not_hold_up_the_stop(repository: Path) -> None:
    server = RunningServer("--model-repository", repository, "--grace-seconds", 600)
    done = threading.Event()

    def requests() -> Iterator[prediction_pb2.PredictRequest]:
        yield prediction_pb2.PredictRequest(images=bytes(784))
        done.wait(WAIT_SECONDS)

    stream = server.stub.PredictStream(requests())
    assert next(stream).version == 1
    watch = health_pb2_grpc.HealthStub(server.channel).Watch(health_pb2.HealthCheckRequest(service="digits"))
    assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
    server.process.terminate()
    assert [answer.status for answer in watch] == [health_pb2.HealthCheckResponse.NOT_SERVING]
    assert failure(lambda: next(stream))[0] == "UNAVAILABLE"
    assert server.wait() == 0  # in WAIT_SECONDS, which is less than the grace
    done.set()


@pytest.mark.parametrize("workers", [1, 2])
def test_taken_grpc_port_is_named(repository: Path, workers: int) -> None:
    options = ("--model-repository", repository, "--workers", workers)
    with running(*options) as server:
        code, message = failed_start(*options, "--grpc-port", server.grpc_port)
    assert code == 1
    assert message == (
        f"gRPC port {server.grpc_port} on 127.0.0.1 cannot be bound: "
        "Address already in use; is another server using it?"
    )


def test_missing_repository_is_named(tmp_path: Path) -> None:
    code, message = failed_start("--model-repository", tmp_path / "nowhere")
    assert code == 1
    assert message == f"model repository {tmp_path}/nowhere cannot be read: No such file or directory"


def test_damaged_model_is_named_with_the_reason(tmp_path: Path, publish: Publish) -> None:
    folder = publish(tmp_path)
    (folder / "model.onnx").write_bytes(b"damaged")
    code, message = failed_start("--model-repository", tmp_path)
    assert code == 1
    assert message.startswith(
        f"no version of model 'digits' in {tmp_path} can serve: version 1: "
        "model.onnx has 7 bytes, the manifest says "
    )


def test_worker_that_cannot_start_ends_the_server_with_its_reason(tmp_path: Path, publish: Publish) -> None:
    (publish(tmp_path) / "model.onnx").write_bytes(b"damaged")
    process = ServerProcess("--model-repository", tmp_path, "--workers", 2)
    assert process.wait() == 1
    assert any(
        line.startswith("digit-server: worker ") and "model.onnx has 7 bytes" in line
        for line in process.lines
    )
    assert process.lines[-1].startswith("digit-server: worker ")
    assert not [line for line in process.lines if "Traceback" in line]


def test_wrong_usage_is_one_line_and_exit_code_2() -> None:
    assert failed_start("--grpc-port", 99999) == (
        2,
        'Invalid value "99999" for --grpc-port. Must be <= 65535.',
    )
    for workers in ("0", "-1", "many"):
        code, message = failed_start(f"--workers={workers}")
        assert code == 2
        assert message.startswith("Invalid value ")
    code, message = failed_start(env={"DIGITS_MAX_QUEUE_IMAGES": "many"})
    assert (code, message) == (
        2,
        'Invalid value for DIGITS_MAX_QUEUE_IMAGES from env: unable to convert "many" into int.',
    )


def test_settings_come_from_the_environment_too(repository: Path) -> None:
    env = {"DIGITS_MODEL_REPOSITORY": str(repository), "DIGITS_MAX_REQUEST_IMAGES": "1"}
    with running(env=env) as server, pytest.raises(grpc.RpcError, match="expected at most 1"):
        server.predict(bytes(2 * 784))
