"""Processes that are killed, suspended and stopped under load."""

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.conftest import Publish
from tests.load import DIGIT, Load, load, plain_callers, retrying_callers
from tests.process import WAIT_SECONDS, RunningServer, ServerProcess, running, until

pytestmark = pytest.mark.slow

CALLERS = 16


@pytest.fixture
def server(tmp_path: Path, publish: Publish) -> Iterator[RunningServer]:
    publish(tmp_path)
    with running("--model-repository", tmp_path, "--workers", 2) as server:
        yield server


def test_worker_killed_under_load_costs_a_retrying_client_nothing(server: RunningServer) -> None:
    with retrying_callers(server.address, connections=2, callers=24) as asks, load(*asks) as under_load:
        for _ in range(3):
            under_load.wait_for(200)
            server.workers[0].kill()
            server.event("worker died")
            server.event("worker ready")
            under_load.wait_for(200)
    assert under_load.failures == {}


def test_supervisor_killed_under_load_takes_its_workers_with_it(server: RunningServer) -> None:
    processes = server.workers
    with plain_callers(server.address, CALLERS) as asks, load(*asks) as under_load:
        under_load.wait_for(200)
        server.process.kill()
        _, alive = psutil.wait_procs(processes, timeout=WAIT_SECONDS)
        under_load.end()
    assert not alive
    assert refused_politely(under_load)


def test_stop_under_full_load_loses_no_accepted_call(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    server = RunningServer("--model-repository", tmp_path, "--workers", 2, "--drain-seconds", 0.5)
    processes = server.workers
    with plain_callers(server.address, CALLERS) as asks, load(*asks) as under_load:
        under_load.wait_for(200)
        server.process.terminate()
        assert server.event("stopping workers")["signal"] == "SIGTERM"
        under_load.wait_for(50)  # while load balancers notice
        assert server.wait() == 0
        under_load.end()
    assert refused_politely(under_load)
    assert not any(process.is_running() for process in processes)


def test_callers_of_a_worker_that_stopped_are_answered_by_those_left(
    tmp_path: Path, publish: Publish
) -> None:
    publish(tmp_path)
    server = RunningServer("--model-repository", tmp_path, "--workers", 3)
    server.process.terminate()
    until(lambda: len(server.workers) < 3)
    with plain_callers(server.address, 1) as (ask,):
        assert ask() == DIGIT
    assert server.wait() == 0


def refused_politely(under_load: Load) -> bool:
    """Tell whether every failure is a call that was refused or found no server.

    One that it took and lost is CANCELLED, or its socket was closed.
    """
    words = ("the server is stopping", "GOAWAY received", "failed to connect to all addresses")
    for outcome in under_load.failures:
        assert outcome.startswith("UNAVAILABLE: "), outcome
        assert any(word in outcome for word in words), outcome
    return True


def test_second_signal_ends_every_process_at_once(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    server = RunningServer("--model-repository", tmp_path, "--workers", 2, "--drain-seconds", 600)
    processes = server.workers
    server.process.terminate()
    for _ in processes:
        server.event("draining")
    server.process.terminate()
    assert server.wait() == -signal.SIGTERM
    _, alive = psutil.wait_procs(processes, timeout=WAIT_SECONDS)
    assert not alive


@pytest.mark.parametrize("workers", [1, 2])
def test_hangup_at_the_very_start_ends_nothing(tmp_path: Path, publish: Publish, workers: int) -> None:
    publish(tmp_path)
    process = ServerProcess("--model-repository", tmp_path, "--workers", workers)
    while not holds(process.process.pid, signal.SIGHUP):  # before anything is loaded
        pass
    process.process.send_signal(signal.SIGHUP)
    process.event("ready")
    process.process.terminate()
    assert process.wait() == 0


def holds(pid: int, signum: signal.Signals) -> bool:
    status = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return bool(int(status["SigBlk"], 16) >> (signum - 1) & 1)


def test_stopped_process_goes_on_where_it_was(server: RunningServer) -> None:
    processes = [psutil.Process(server.process.pid), *server.workers]
    with retrying_callers(server.address, connections=2, callers=4) as asks, load(*asks) as under_load:
        under_load.wait_for(50)
        for process in processes:
            os.kill(process.pid, signal.SIGSTOP)
        for process in processes:
            os.kill(process.pid, signal.SIGCONT)
        under_load.wait_for(50)
    assert under_load.failures == {}
    assert server.workers == processes[1:]
