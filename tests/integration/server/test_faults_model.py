"""A model that fails on one image, in a real server."""

import threading
from pathlib import Path

import grpc
import pytest

from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.dying_server import DyingServer
from tests.graphs import TROUBLE, forgetful_graph, raising_graph, slow_graph
from tests.load import DIGIT, IMAGE
from tests.process import WAIT_SECONDS, RunningServer, failure, running, until

pytestmark = pytest.mark.slow

# Hours.
ENDLESS = 10**10


def code_of(server: RunningServer, images: bytes, timeout: float = WAIT_SECONDS) -> str:
    request = PredictRequest(images=images)
    return ": ".join(failure(lambda: server.stub.Predict(request, timeout=timeout)))


@pytest.mark.parametrize("graph", [raising_graph(), forgetful_graph()], ids=["raises", "loses rows"])
def test_call_that_the_model_fails_on_fails_alone(tmp_path: Path, publish: Publish, graph: bytes) -> None:
    publish(tmp_path, graph=graph)
    with running("--model-repository", tmp_path) as server:
        good, bad = PredictRequest(images=IMAGE.tobytes()), PredictRequest(images=TROUBLE)
        server.stub.Predict(good)
        calls = [
            server.stub.Predict.future(bad if number % 5 == 2 else good, timeout=WAIT_SECONDS)
            for number in range(50)
        ]
        for number, call in enumerate(calls):
            if number % 5 == 2:
                assert call.exception().code() == grpc.StatusCode.INTERNAL
                assert call.exception().details() == "the model failed on this call's images"
            else:
                assert list(call.result().digits) == [DIGIT]
        assert code_of(server, IMAGE.tobytes() + TROUBLE).startswith("INTERNAL")
        assert server.get("/livez")[0] == server.get("/readyz")[0] == 200
        assert server.metric("digits_failed_calls_total") == 11


def test_liveness_notices_a_data_plane_that_is_blocked(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path, graph=slow_graph(ENDLESS))
    server = RunningServer("--model-repository", tmp_path)
    assert server.get("/livez") == (200, "live\n")
    call = server.stub.Predict.future(PredictRequest(images=TROUBLE))
    answers = []  # each takes as long as a data plane may take to respond
    until(lambda: answers.append(server.get("/livez")) or answers[-1][0] != 200)
    assert answers[-1] == (503, "not live\n")
    server.process.kill()
    with pytest.raises(grpc.RpcError):
        call.result()


def test_worker_whose_data_plane_is_blocked_is_replaced(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path, graph=slow_graph(ENDLESS))
    with running("--model-repository", tmp_path, "--workers", 2) as server:
        failed = threading.Event()
        call = server.stub.Predict.future(PredictRequest(images=TROUBLE), timeout=WAIT_SECONDS)
        call.add_done_callback(lambda _: failed.set())
        assert server.event("worker is stuck")["missed_reports"] == 10
        assert server.event("worker died")["exit_code"] == -9
        server.event("worker ready")
        assert failed.wait(WAIT_SECONDS)
        assert call.code() == grpc.StatusCode.UNAVAILABLE
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]


def test_defect_of_the_data_plane_ends_the_process(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    server = DyingServer("--model-repository", tmp_path)
    assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
    assert code_of(server, TROUBLE).startswith("UNAVAILABLE")
    assert server.wait() == 1  # rather than live without a port: whoever runs it starts it again
    assert "a defect" in next(line for line in server.lines if "digit-server failed" in line)
