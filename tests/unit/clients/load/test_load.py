"""The load generator with a server of known behaviour."""

import itertools
import json
import threading
from collections.abc import Callable
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


def workload(fake: FakeServer, **fields: float) -> Workload:
    connection = Connection(address=fake.address, attempts=1)
    return Workload(connection=connection, arrivals="constant", **({"warmup_seconds": 0} | fields))


def load(fake: FakeServer, *options: object) -> int:
    return main(["load", "-s", fake.address, "--warmup-seconds", "0", *map(str, options)])


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
    tally = run(workload(fake, rate=100, seconds=2)).tally
    assert tally.ok == 200
    assert tally.latency_ms(75) > 200


def test_closed_loop_counts_calls_and_images(fake: FakeServer) -> None:
    each = {"in_flight": 4, "images_per_call": 8, "processes": 2, "connections": 2}
    result = run(workload(fake, seconds=1, warmup_seconds=0.2, **each))
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
    failed = run(workload(fake, rate=20, seconds=1)).tally.failed
    assert failed == {"WRONG_ANSWER": 2, "RESOURCE_EXHAUSTED": 1}


def pretended(workload: Workload, *, p99_ms: float = 1.0, late_ms: float = 0.1, failed: str = "") -> Result:
    recorder = Recorder()
    recorder.answered(due=0, sent=late_ms / 1e3, now=p99_ms / 1e3)
    if failed:
        recorder.failed(failed)
    return Result(workload, Tally().add(recorder.take()), workload.seconds)


def trials(run: Callable[[Workload], Result]) -> list[Result]:
    return list(find_capacity(Workload(connection=Connection()), 50, run))


@pytest.mark.parametrize("capacity", [3.0, 70.0, 4321.0])
@pytest.mark.parametrize("breaks", [{"p99_ms": 80.0}, {"failed": "RESOURCE_EXHAUSTED"}])
def test_capacity_is_the_rate_above_which_the_promise_breaks(
    capacity: float, breaks: dict[str, float | str]
) -> None:
    found = trials(lambda each: pretended(each, **(breaks if (each.rate or 0) > capacity else {})))
    best = max(trial.workload.rate or 0 for trial in found if verdict(trial, 50) == "ok")
    assert capacity / 1.06 < best <= capacity
    assert len(found) < 20


def test_generator_that_is_late_is_not_taken_for_the_server() -> None:
    found = trials(lambda each: pretended(each, p99_ms=45, late_ms=40 if (each.rate or 0) > 500 else 0.1))
    assert {verdict(trial, 50) for trial in found} == {"ok", "the generator was 40 ms late"}


def test_server_that_keeps_no_promise_has_no_capacity(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "best.json"
    search = ["--find-capacity", "--rate", 0.9, "--p99-ms", 0.001, "--seconds", 2]
    assert load(fake, *search, "--json", path) == 1
    heading, row, *_, last = capsys.readouterr().out.splitlines()
    assert heading.split()[0] == "rate"
    assert row.split()[-3] == "p99"
    assert last == "No rate keeps p99 within 0.001 ms."
    assert not path.exists()


def test_command_reports_writes_and_compares(fake: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    one, two, plot = tmp_path / "one.json", tmp_path / "two.json", tmp_path / "one.png"
    assert load(fake, "--rate", 50, "--seconds", 1, "--json", one, "--plot", plot) == 0
    out = capsys.readouterr().out
    assert "open loop, 50 calls/s, poisson, 1 image a call" in out
    assert "server ms   queue p50 0.10  p99 0.10; compute p50 2.00  p99 2.00" in out
    assert json.loads(one.read_text())["failed"] == {}
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert main(["load", "compare", str(one), str(one), "--plot", str(plot)]) == 0
    out, err = capsys.readouterr()
    assert "1.00" in out
    assert err == ""
    load(fake, "--rate", 50, "--seconds", 1, "--images-per-call", 2, "--json", two)
    main(["load", "compare", str(one), str(two)])
    assert "warning: different workloads: images_per_call 1 and 2" in capsys.readouterr().err


def test_sweep_prints_a_row_for_each_number_of_calls_in_flight(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    plot = tmp_path / "sweep.png"
    assert load(fake, "--in-flight", "1:3", "--seconds", 0.4, "--plot", plot) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()[:4]]
    assert rows[0][:3] == ["in", "flight", "calls/s"]
    assert [row[0] for row in rows[1:]] == ["1", "2", "3"]
    assert {row[6] for row in rows[1:]} == {"2.00"}  # the server's compute time
    assert plot.read_bytes().startswith(b"\x89PNG")


def test_hopeless_rate_ends_in_time_counts_every_call_and_names_the_generator(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    path = tmp_path / "result.json"
    hopeless = ["--rate", 500_000, "--arrivals", "constant", "--images-per-call", 64, "--seconds", 1]
    assert load(fake, *hopeless, "--json", path) == 1
    *_, last = capsys.readouterr().out.splitlines()
    assert last.startswith("The generator is the limit: the generator could not send")
    record = json.loads(path.read_text())
    assert record["failed"]["NOT_SENT"] > 0
    assert record["ok"] + sum(record["failed"].values()) == 500_000


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--in-flight", "0"], "--in-flight is '0', expected a number or FIRST:LAST"),
        (["--in-flight", "x"], "--in-flight is 'x'"),
        (["--in-flight", "8:4"], "--in-flight is '8:4'"),
        (["--in-flight", "1:2:3"], "--in-flight is '1:2:3'"),
        (["-s", "127.0.0.1:1"], "no server answers at 127.0.0.1:1"),
        (["compare", "object.json", "object.json"], "object.json: not a result"),
        (["compare", "text.json", "text.json"], "text.json: not a result"),
        (["compare", "gone.json", "gone.json"], "gone.json: No such file"),
    ],
)
def test_mistake_is_one_line(
    arguments: list[str], complaint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Captured
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("object.json").write_text("{}")
    Path("text.json").write_text("picture")
    assert main(["load", *arguments]) == 1
    err = capsys.readouterr().err
    assert complaint in err
    assert err.count("\n") == 1


def test_result_that_cannot_be_written_is_one_line(
    fake: FakeServer, tmp_path: Path, capsys: Captured
) -> None:
    assert load(fake, "--rate", 50, "--seconds", 0.5, "--json", tmp_path / "no" / "a.json") == 1
    assert "a.json: cannot be written: No such file" in capsys.readouterr().err


def test_plot_of_an_empty_run_is_still_a_plot(tmp_path: Path) -> None:
    plot_percentiles(tmp_path / "a.png", "nothing", [("none", Tally().latency)])
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
