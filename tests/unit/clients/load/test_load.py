"""The load generator with a server of known behaviour."""

import itertools
import json
import threading
from pathlib import Path

import grpc
import pytest

from clients.cli import main
from clients.connection import Connection
from clients.load.latency import Recorder, Tally
from clients.load.plot import plot_percentiles
from clients.load.run import Result, run
from clients.load.search import find_capacity, verdict
from clients.load.workload import Workload
from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2

Captured = pytest.CaptureFixture[str]


def test_latency_counts_from_when_a_call_was_due() -> None:
    recorder = Recorder()
    recorder.answered(due=10.0, sent=12.0, now=12.5)
    tally = Tally().add(recorder.take())
    assert tally.latency_ms(50) == pytest.approx(2500, rel=1e-3)
    assert tally.lateness.get_max_value() == pytest.approx(2_000_000, rel=1e-3)


def test_taking_a_snapshot_starts_afresh() -> None:
    recorder = Recorder()
    recorder.answered(0, 0, 0.001)
    recorder.failed("UNAVAILABLE")
    first, second = Tally().add(recorder.take()), Tally().add(recorder.take())
    assert (first.ok, first.failed["UNAVAILABLE"]) == (1, 1)
    assert (second.ok, second.failed.total()) == (0, 0)


def test_stalled_server_is_charged_for_all_who_would_have_waited(fake: FakeServer) -> None:
    """Only one call of a hundred meets the stall; a closed loop would report a p50 without it."""
    calls = itertools.count()
    stall, over = threading.Event(), threading.Lock()

    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        if next(calls) == 20:
            with over:  # everybody else waits here too
                stall.wait(1.0)
        with over:
            return first_pixel(request)

    fake.answer = answer
    workload = Workload(
        connection=Connection(address=fake.address, attempts=1),
        rate=100, seconds=2, warmup_seconds=0, arrivals="constant",
    )  # fmt: skip
    tally = run(workload).tally
    assert tally.ok == 200
    assert tally.latency_ms(75) > 200


def test_closed_loop_counts_calls_and_images(fake: FakeServer) -> None:
    workload = Workload(
        connection=Connection(address=fake.address),
        in_flight=4, images_per_call=8, seconds=1, warmup_seconds=0.2, processes=2, connections=2,
    )  # fmt: skip
    result = run(workload)
    assert result.tally.ok > 0
    assert not result.tally.failed
    assert result.images_per_second == pytest.approx(8 * result.calls_per_second)
    assert {len(request.images) for request in fake.requests} == {8 * 784}


def test_failed_and_wrong_answers_are_counted_by_reason(fake: FakeServer) -> None:
    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        count = len(fake.requests)
        if count in {5, 6}:
            return prediction_pb2.PredictResponse(digits=[1, 2])
        if count == 7:
            fake.failures.append((grpc.StatusCode.RESOURCE_EXHAUSTED, "full"))
        return first_pixel(request)

    fake.answer = answer
    workload = Workload(
        connection=Connection(address=fake.address, attempts=1),
        rate=20, seconds=1, warmup_seconds=0, arrivals="constant",
    )  # fmt: skip
    assert run(workload).tally.failed == {"WRONG_ANSWER": 2, "RESOURCE_EXHAUSTED": 1}


def test_hopeless_rate_ends_in_time_and_counts_every_call(fake: FakeServer) -> None:
    workload = Workload(
        connection=Connection(address=fake.address, attempts=1),
        rate=500_000, images_per_call=64, seconds=1, warmup_seconds=0, arrivals="constant",
    )  # fmt: skip
    result = run(workload)
    assert "could not send" in result.limit
    assert result.tally.failed["NOT_SENT"] > 0
    assert result.tally.ok + result.tally.failed.total() == 500_000


def pretended(workload: Workload, *, p99_ms: float = 1.0, late_ms: float = 0.1, failed: str = "") -> Result:
    recorder = Recorder()
    recorder.answered(due=0, sent=late_ms / 1e3, now=p99_ms / 1e3)
    if failed:
        recorder.failed(failed)
    return Result(workload, Tally().add(recorder.take()), workload.seconds)


@pytest.mark.parametrize("capacity", [3.0, 70.0, 4321.0])
@pytest.mark.parametrize("breaks", [{"p99_ms": 80.0}, {"failed": "RESOURCE_EXHAUSTED"}])
def test_capacity_is_the_rate_above_which_the_promise_breaks(
    capacity: float, breaks: dict[str, float | str]
) -> None:
    def run(workload: Workload) -> Result:
        return pretended(workload, **(breaks if (workload.rate or 0) > capacity else {}))

    trials = list(find_capacity(Workload(connection=Connection()), 50, run))
    best = max(trial.workload.rate or 0 for trial in trials if verdict(trial, 50) == "ok")
    assert capacity / 1.06 < best <= capacity
    assert len(trials) < 20


def test_server_that_keeps_no_promise_has_no_capacity() -> None:
    def run(workload: Workload) -> Result:
        return pretended(workload, p99_ms=60)

    trials = find_capacity(Workload(connection=Connection()), 50, run)
    assert {verdict(trial, 50) for trial in trials} == {"p99 60.0 ms"}


def test_generator_that_is_late_is_not_taken_for_the_server() -> None:
    def run(workload: Workload) -> Result:
        return pretended(workload, p99_ms=45, late_ms=40 if (workload.rate or 0) > 500 else 0.1)

    trials = find_capacity(Workload(connection=Connection()), 50, run)
    assert {verdict(trial, 50) for trial in trials} == {"ok", "the generator was 40 ms late"}


def test_search_prints_its_runs_and_what_limits_it(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "best.json"
    load = ["load", "-s", fake.address, "--find-capacity", "--rate", "0.9", "--json", str(path)]
    assert main([*load, "--p99-ms", "0.001", "--seconds", "2", "--warmup-seconds", "0"]) == 1
    heading, row, *_, last = capsys.readouterr().out.splitlines()
    assert heading.split()[0] == "rate"
    assert row.split()[-3] == "p99"
    assert last == "No rate keeps p99 within 0.001 ms."
    assert not path.exists()


def test_command_reports_writes_and_compares(fake: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    one, two, plot = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "one.png"
    load = ["load", "-s", fake.address, "--rate", "50", "--seconds", "1", "--warmup-seconds", "0"]
    assert main([*load, "--json", str(one), "--plot", str(plot)]) == 0
    out = capsys.readouterr().out
    assert "open loop, 50 calls/s, poisson, 1 image a call" in out
    assert "server ms   queue p50 0.10  p99 0.10; compute p50 2.00  p99 2.00" in out
    assert json.loads(one.read_text())["failed"] == {}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["load", "compare", str(one), str(one), "--plot", str(plot)]) == 0
    out, err = capsys.readouterr()
    assert "1.00" in out
    assert err == ""
    main([*load, "--images-per-call", "2", "--json", str(two)])
    main(["load", "compare", str(one), str(two)])
    assert "warning: different workloads: images_per_call 1 and 2" in capsys.readouterr().err


def test_sweep_prints_a_row_for_each_number_of_calls_in_flight(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    plot = tmp_path / "sweep.png"
    load = ["load", "-s", fake.address, "--in-flight", "1:3", "--seconds", "0.4", "--warmup-seconds", "0"]
    assert main([*load, "--plot", str(plot)]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[:4]]
    assert rows[0][:3] == ["in", "flight", "calls/s"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    assert {row[6] for row in rows[1:]} == {"2.00"}  # the server's compute time
    assert plot.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("bounds", ["0", "x", "8:4", "1:2:3"])
def test_calls_in_flight_are_a_number_or_a_range(capsys: Captured, bounds: str) -> None:
    assert main(["load", "--in-flight", bounds]) == 1
    assert f"--in-flight is '{bounds}'" in capsys.readouterr().err


def test_generator_that_is_the_limit_says_so_last_and_names_no_capacity(
    fake: FakeServer, capsys: Captured
) -> None:
    load = ["load", "-s", fake.address, "--rate", "400000", "--images-per-call", "64"]
    assert main([*load, "--seconds", "1", "--warmup-seconds", "0"]) == 1
    out = capsys.readouterr().out
    assert out.splitlines()[-1].startswith("The generator is the limit: the generator could not send")
    assert "capacity" not in out


@pytest.mark.parametrize(
    ("content", "complaint"), [("{}", "not a result"), ("picture", "not a result"), (None, "No such file")]
)
def test_compare_wants_results(tmp_path: Path, capsys: Captured, content: str | None, complaint: str) -> None:
    path = tmp_path / "a.json"
    if content:
        path.write_text(content)
    assert main(["load", "compare", str(path), str(path)]) == 1
    assert complaint in capsys.readouterr().err


def test_result_that_cannot_be_written_is_one_line(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    load = ["load", "-s", fake.address, "--rate", "50", "--seconds", "0.5", "--warmup-seconds", "0"]
    assert main([*load, "--json", str(tmp_path / "no" / "a.json")]) == 1
    assert "a.json: cannot be written: No such file" in capsys.readouterr().err


def test_unreachable_server_is_one_line(capsys: Captured) -> None:
    assert main(["load", "-s", "127.0.0.1:1"]) == 1
    assert "no server answers at 127.0.0.1:1" in capsys.readouterr().err


def test_plot_of_an_empty_run_is_still_a_plot(tmp_path: Path) -> None:
    plot_percentiles(tmp_path / "a.png", "nothing", [("none", Tally().latency)])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
