"""Several worker processes behind one port."""

import os
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import psutil
import pytest

from protos.digits.v1 import prediction_pb2_grpc
from protos.digits.v1.prediction_pb2 import PredictRequest
from tests.conftest import Publish
from tests.process import WAIT_SECONDS, RunningServer, ServerProcess, running


@pytest.fixture
def server(tmp_path: Path, publish: Publish) -> Iterator[RunningServer]:
    publish(tmp_path)
    with running("--model-repository", tmp_path, "--workers", 2) as server:
        yield server


def ask(server: RunningServer, connections: int) -> None:
    """Call once on each of several connections of their own; the kernel spreads them over the workers."""

    def one(_: int) -> None:
        options = [("grpc.use_local_subchannel_pool", 1)]
        with grpc.insecure_channel(server.address, options) as channel:
            stub = prediction_pb2_grpc.PredictionServiceStub(channel)
            assert len(stub.Predict(PredictRequest(images=bytes(784)), timeout=WAIT_SECONDS).digits) == 1

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(one, range(connections)))


def calls_counted(server: RunningServer, expected: int) -> float:
    """Scrape until the workers have written their counts, which they do some times a second."""
    counted = 0.0
    for _ in range(100):
        counted = server.metric("digits_requests_total", code="OK")
        if counted >= expected:
            break
    return counted


def test_workers_share_the_port_and_their_metrics_add_up(server: RunningServer) -> None:
    ask(server, 40)
    assert calls_counted(server, 40) == 40
    assert server.metric("digits_model_info", model="digits", version="1") == 1  # not once a worker
    pids = {process.pid for process in server.workers}
    assert len(pids) == 2
    assert server.metric("digits_workers") == 2
    for place in ("0", "1", "supervisor"):
        assert server.metric("process_resident_memory_bytes", worker=place) > 0


def test_killed_worker_is_replaced_and_nothing_counted_is_lost(server: RunningServer) -> None:
    ask(server, 20)
    assert calls_counted(server, 20) == 20
    victim = server.workers[0]
    os.kill(victim.pid, signal.SIGKILL)
    died = server.event("worker died")
    assert died["exit_code"] == -signal.SIGKILL
    server.event("worker ready")
    assert server.metric("digits_worker_restarts_total") == 1
    ask(server, 20)
    assert calls_counted(server, 40) == 40
    assert len(server.workers) == 2
    assert {worker.nice() for worker in server.workers} == {os.nice(0)}  # it gave way only to start


def test_stop_drains_every_worker_and_leaves_none(server: RunningServer) -> None:
    processes = server.workers
    server.process.terminate()
    assert server.event("stopping workers")["signal"] == "SIGTERM"
    assert server.wait() == 0
    assert len([line for line in server.lines if "draining" in line]) == 2
    assert not any(process.is_running() for process in processes)


def test_workers_do_not_outlive_a_killed_supervisor(server: RunningServer) -> None:
    processes = server.workers
    server.process.kill()
    _, alive = psutil.wait_procs(processes, timeout=WAIT_SECONDS)
    assert not alive


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


def test_port_of_other_workers_is_taken(server: RunningServer, tmp_path: Path) -> None:
    process = ServerProcess("--model-repository", tmp_path, "--workers", 2, "--grpc-port", server.grpc_port)
    assert process.wait() == 1
    assert process.lines[-1] == (
        f"digit-server: gRPC port {server.grpc_port} on 127.0.0.1 cannot be bound: "
        "Address already in use; is another server using it?"
    )


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_number_of_workers_is_checked(workers: str) -> None:
    process = ServerProcess(f"--workers={workers}")
    assert process.wait() == 2
    assert process.lines[-1].startswith("digit-server: Invalid value")


def test_version_that_no_worker_serves_has_no_series_and_keeps_its_counts(
    server: RunningServer, tmp_path: Path, publish: Publish
) -> None:
    def swap(to: int) -> None:
        server.process.send_signal(signal.SIGHUP)
        for _ in range(2):
            while server.event("versions serve")["versions"] != [to]:
                pass

    ask(server, 10)
    publish(tmp_path, version=2)
    swap(to=2)
    ask(server, 10)
    page = server.get("/metrics")[1]
    assert 'version="1"' not in page
    assert 'digits_predictions_total{digit="0",model="digits",version="2"}' in page
    shutil.rmtree(tmp_path / "digits" / "2")
    swap(to=1)
    assert server.metric("digits_predictions_total", version="1") == 10
    assert server.metric("digits_model_info") == 1
