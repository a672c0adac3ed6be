"""Environments of a start: streams, addresses, locale, limits, working directory."""

import os
import signal
import subprocess
import sys
from pathlib import Path
from urllib.request import urlopen

import grpc
import pytest
from grpc_health.v1.health_pb2 import HealthCheckRequest, HealthCheckResponse
from grpc_health.v1.health_pb2_grpc import HealthStub

from protos.digits.v1.prediction_pb2 import PredictRequest
from protos.digits.v1.prediction_pb2_grpc import PredictionServiceStub
from tests.load import DIGIT, IMAGE
from tests.process import DEFAULTS, WAIT_SECONDS, RunningServer, ServerProcess, running, until

ROOT = Path(__file__).parents[3]
REQUEST = PredictRequest(images=IMAGE.tobytes())


def started_by(*prefix: str) -> type[RunningServer]:
    """A server that another command starts."""
    return type("Started", (RunningServer,), {"prefix": prefix})


def answers(address: str) -> bool:
    with grpc.insecure_channel(address) as channel:
        answer = PredictionServiceStub(channel).Predict(REQUEST, timeout=WAIT_SECONDS, wait_for_ready=True)
        return list(answer.digits) == [DIGIT]


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("streams", ["<&-", ">&-", "<&- >&-"])
def test_closed_streams_hinder_neither_start_nor_stop(repository: Path, workers: int, streams: str) -> None:
    kind = started_by("sh", "-c", f'exec "$@" {streams}', "sh")
    server = kind("--model-repository", repository, "--workers", workers)
    assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
    server.process.terminate()
    assert server.wait() == 0


def test_closed_standard_error_hinders_neither_start_nor_stop(repository: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/digits"
    command = [sys.executable, "-m", "server.cli", "--model-repository", str(repository), "--host", address]
    environment = os.environ | DEFAULTS
    process = subprocess.Popen(["/bin/sh", "-c", 'exec "$@" 2>&-', "sh", *command], env=environment)
    assert answers(address)
    process.terminate()
    assert process.wait(WAIT_SECONDS) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_nothing_of_the_environment_is_needed(repository: Path, workers: int) -> None:
    kind = started_by("env", "-u", "HOME", "-u", "LANG", "LC_ALL=C", "PYTHONOPTIMIZE=1")
    with running("--model-repository", repository, "--workers", workers, kind=kind) as server:
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]


def in_namespace(*setup: str) -> type[RunningServer]:
    """Return a kind of server with a file system changed by commands in its own mount namespace."""
    prefix = ("unshare", "--map-root-user", "--mount")
    if subprocess.run([*prefix, "mount", "-t", "tmpfs", "none", "/mnt"], check=False).returncode:
        pytest.skip("NOT RUN: a file system cannot be mounted here")
    return started_by(*prefix, "sh", "-e", "-c", "; ".join([*setup, 'exec "$@"']), "sh")


@pytest.mark.parametrize(
    ("cgroup", "files"),
    [
        ("0::/", {"cpu.max": "50000 100000"}),
        ("1:cpu:/", {"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}),
    ],
    ids=["v2", "v1"],
)
def test_half_a_cpu_has_one_worker(
    repository: Path, tmp_path: Path, cgroup: str, files: dict[str, str]
) -> None:
    (tmp_path / "cgroup").write_text(cgroup + "\n")
    limits = [f"echo {text} > /sys/fs/cgroup/{name}" for name, text in files.items()]
    kind = in_namespace(
        f"mount --bind {tmp_path}/cgroup /proc/$$/cgroup",
        "mount -t tmpfs none /sys/fs/cgroup",
        "mkdir /sys/fs/cgroup/cpu",
        *limits,
    )
    with running("--model-repository", repository, "--workers", "auto", kind=kind) as server:
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
        assert server.workers == []


@pytest.mark.parametrize("workers", [1, 2])
def test_server_needs_no_place_for_files_or_shared_memory(repository: Path, workers: int) -> None:
    kind = in_namespace(
        "mount -t tmpfs -o ro none /dev/shm",
        "mount -o remount,bind,ro /",
        "mount --rbind /tmp /tmp",
        "mount -o remount,bind,ro /tmp",
        "! touch /tmp/file /dev/shm/file /file",
    )
    with running("--model-repository", repository, "--workers", workers, kind=kind) as server:
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
        assert server.metric("digits_predictions_total") == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_server_is_the_first_process_of_a_container(repository: Path, workers: int) -> None:
    kind = started_by("unshare", "--map-root-user", "--pid", "--mount-proc", "--fork", "--kill-child")
    server = kind("--model-repository", repository, "--workers", workers)
    (first,) = server.workers
    identifiers = Path(f"/proc/{first.pid}/status").read_text().partition("NSpid:")[2].split("\n")[0]
    assert identifiers.split()[-1] == "1"
    assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
    first.terminate()
    assert server.wait() == 0


@pytest.mark.parametrize(
    ("host", "addresses", "workers"),
    [
        ("::1", ["[::1]"], 1),
        ("[::1]", ["[::1]"], 2),
        ("localhost", ["127.0.0.1"], 1),
        ("::", ["127.0.0.1", "[::1]"], 2),
        ("0.0.0.0", ["127.0.0.1", "[::1]"], 1),  # noqa: S104 - what is tested
    ],
)
def test_every_port_answers_at_the_addresses_that_are_meant(
    repository: Path, host: str, addresses: list[str], workers: int
) -> None:
    arguments = ("--model-repository", repository, "--host", host, "--workers", workers)
    with running(*arguments, "--health-port", 0) as server:
        for address in addresses:
            assert answers(f"{address}:{server.grpc_port}")
            with grpc.insecure_channel(f"{address}:{server.health_port}") as channel:
                health = HealthStub(channel).Check(HealthCheckRequest(), timeout=WAIT_SECONDS)
                assert health.status == HealthCheckResponse.SERVING
            with urlopen(f"http://{address}:{server.metrics_port}/readyz") as page:
                assert page.read() == b"ready\n"


def test_unix_socket_answers_and_metrics_are_at_a_port(repository: Path, tmp_path: Path) -> None:
    address = f"unix:{tmp_path}/digits"
    with running("--model-repository", repository, "--host", address) as server:
        assert answers(address)
        assert server.get("/readyz")[0] == 200


def test_too_few_open_files_end_the_start_with_their_number(repository: Path) -> None:
    few = type("Few", (ServerProcess,), {"prefix": ("prlimit", "--nofile=64")})
    server = few("--model-repository", repository)
    assert server.wait() == 1
    assert server.lines[-1].startswith("digit-server: the limit on open files is 64, ")


def test_server_py_in_the_working_directory_is_not_imported(repository: Path, tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("raise SystemExit('a foreign server.py')")
    start = f"import sys; sys.path.insert(0, {str(ROOT)!r}); from server.cli import run; run()"
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", start, "--model-repository", str(repository), "--workers", "2"],
        cwd=tmp_path,
        env={**os.environ, **DEFAULTS, "PYTHONPATH": ""},
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    assert any('"event": "ready"' in line for line in process.stderr)
    process.terminate()
    assert process.wait(WAIT_SECONDS) == 0


def test_nonsense_from_a_worker_is_logged_and_survived(repository: Path) -> None:
    with running("--model-repository", repository, "--workers", 2) as server:
        worker = server.workers[0]
        pipe = worker.cmdline()[-1]
        Path(f"/proc/{worker.pid}/fd/{pipe}").write_bytes(b'nonsense\n{"type": "Report"}\n')
        assert server.event("worker wrote no message")["line"] == "b'nonsense'"
        assert server.event("worker wrote no message")
        worker.kill()
        server.event("worker died")
        server.event("worker ready")


@pytest.mark.parametrize("workers", [1, 2])
def test_stop_signal_during_the_start_ends_it_at_once(repository: Path, workers: int) -> None:
    process = ServerProcess("--model-repository", repository, "--workers", workers)
    status = Path(f"/proc/{process.process.pid}/status")
    until(lambda: "SigBlk:\t0000000000000000" not in status.read_text())
    process.process.send_signal(signal.SIGTERM)
    assert process.wait() == -signal.SIGTERM
    assert not [line for line in process.lines if '"ready"' in line or "Traceback" in line]


def test_calls_of_a_million_images_are_a_setting_that_starts(repository: Path) -> None:
    room = ("--max-queue-images", 2_000_000, "--max-inflight-bytes", 3 * 10**9)
    with running("--model-repository", repository, "--max-request-images", 1_000_000, *room) as server:
        assert server.predict(IMAGE.tobytes()).digits == [DIGIT]
