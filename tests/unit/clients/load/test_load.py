"""The load generator against a server whose behaviour is known."""

import itertools
import json
import threading
from pathlib import Path

import grpc
import pytest

pytest.importorskip("hdrh", reason="NOT RUN: the `load` extra is not installed")

from clients.cli import main
from clients.connection import Connection
from clients.errors import InputError
from clients.load.capacity import Trial, find_capacity
from clients.load.plan import Plan
from clients.load.plot import latency_plot
from clients.load.record import Recorder, Tally
from clients.load.run import Result, run
from clients.testing import FakeServer, first_pixel
from protos.digits.v1 import prediction_pb2

Captured = pytest.CaptureFixture[str]


def test_latency_counts_from_when_a_call_was_due() -> None:
    recorder = Recorder()
    recorder.answered(due=10.0, sent=12.0, now=12.5)
    tally = Tally().add(recorder.take(1.0))
    assert tally.latency_ms(50) == pytest.approx(2500, rel=1e-3)
    assert tally.lateness.get_max_value() == pytest.approx(2_000_000, rel=1e-3)


def test_taking_a_snapshot_starts_afresh() -> None:
    recorder = Recorder()
    recorder.answered(0, 0, 0.001)
    recorder.failed("UNAVAILABLE")
    first, second = recorder.take(1.0), recorder.take(1.0)
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
    plan = Plan(
        connection=Connection(address=fake.address, attempts=1),
        rate=100, seconds=2, warmup_seconds=0, arrivals="constant",
    )  # fmt: skip
    tally = run(plan).tally
    assert tally.ok == 200
    assert tally.latency_ms(75) > 200


def test_closed_loop_counts_calls_and_images(fake: FakeServer) -> None:
    plan = Plan(
        connection=Connection(address=fake.address),
        in_flight=4, images_per_call=8, seconds=1, warmup_seconds=0.2, processes=2, connections=2,
    )  # fmt: skip
    result = run(plan)
    assert result.tally.ok > 0
    assert not result.tally.failed
    assert result.images_per_second == pytest.approx(8 * result.calls_per_second)
    assert {len(request.images) for request in fake.requests} == {8 * 784}


def test_stream_carries_many_requests_and_outlives_a_failure(fake: FakeServer) -> None:
    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        if len(fake.requests) in {20, 21}:
            fake.failures.append((grpc.StatusCode.RESOURCE_EXHAUSTED, "full"))
        return first_pixel(request)

    fake.answer = answer
    plan = Plan(
        connection=Connection(address=fake.address),
        in_flight=4, images_per_call=8, seconds=1, warmup_seconds=0, stream=True, connections=2,
    )  # fmt: skip
    tally = run(plan).tally
    assert tally.failed["RESOURCE_EXHAUSTED"] > 0
    assert tally.ok > 21


def test_stream_needs_a_protocol_that_has_one() -> None:
    with pytest.raises(InputError, match="open-inference protocol has no stream"):
        Plan(connection=Connection(protocol="open-inference"), stream=True)


def test_failed_and_wrong_answers_are_counted_by_reason(fake: FakeServer) -> None:
    def answer(request: prediction_pb2.PredictRequest) -> prediction_pb2.PredictResponse:
        count = len(fake.requests)
        if count in {5, 6}:
            return prediction_pb2.PredictResponse(digits=[1, 2])
        if count == 7:
            fake.failures.append((grpc.StatusCode.RESOURCE_EXHAUSTED, "full"))
        return first_pixel(request)

    fake.answer = answer
    plan = Plan(
        connection=Connection(address=fake.address, attempts=1),
        rate=20, seconds=1, warmup_seconds=0, arrivals="constant",
    )  # fmt: skip
    assert run(plan).tally.failed == {"WRONG_ANSWER": 2, "RESOURCE_EXHAUSTED": 1}


def test_hopeless_rate_ends_in_time_and_counts_every_call(fake: FakeServer) -> None:
    plan = Plan(
        connection=Connection(address=fake.address, attempts=1),
        rate=500_000, images_per_call=64, seconds=1, warmup_seconds=0, arrivals="constant",
    )  # fmt: skip
    result = run(plan)
    assert not result.kept_up
    assert result.tally.failed["NOT_SENT"] > 0
    assert result.tally.ok + result.tally.failed.total() == 500_000


def pretended(plan: Plan, *, p99_ms: float = 1.0, late_ms: float = 0.1, failed: str = "") -> Result:
    recorder = Recorder()
    recorder.answered(due=0, sent=late_ms / 1e3, now=p99_ms / 1e3)
    if failed:
        recorder.failed(failed)
    return Result(plan, Tally().add(recorder.take(1.0)), plan.seconds, ())


@pytest.mark.parametrize("capacity", [3.0, 70.0, 4321.0])
@pytest.mark.parametrize("breaks", [{"p99_ms": 80.0}, {"failed": "RESOURCE_EXHAUSTED"}])
def test_capacity_is_the_rate_above_which_the_promise_breaks(
    capacity: float, breaks: dict[str, float | str]
) -> None:
    def run(plan: Plan) -> Result:
        return pretended(plan, **(breaks if (plan.rate or 0) > capacity else {}))

    trials: list[Trial] = []
    best = find_capacity(Plan(connection=Connection()), 50, run, trials.append)
    assert best is not None
    assert capacity / 1.06 < best.rate <= capacity
    assert len(trials) < 20


def test_server_that_keeps_no_promise_has_no_capacity() -> None:
    trials: list[Trial] = []

    def run(plan: Plan) -> Result:
        return pretended(plan, p99_ms=60)

    assert find_capacity(Plan(connection=Connection()), 50, run, trials.append) is None
    assert trials[0].verdict == "p99 60.0 ms"


def test_generator_that_is_late_is_not_taken_for_the_server() -> None:
    trials: list[Trial] = []

    def run(plan: Plan) -> Result:
        return pretended(plan, p99_ms=45, late_ms=40 if (plan.rate or 0) > 500 else 0.1)

    best = find_capacity(Plan(connection=Connection()), 50, run, trials.append)
    assert best is not None
    assert best.rate <= 500
    assert any("the generator was 40 ms late" in trial.verdict for trial in trials)


def test_command_reports_writes_and_compares(fake: FakeServer, tmp_path: Path, capsys: Captured) -> None:
    one, table, plot = tmp_path / "one.json", tmp_path / "one.csv", tmp_path / "one.svg"
    load = ["load", "-s", fake.address, "--rate", "50", "--seconds", "1", "--warmup-seconds", "0"]
    assert main([*load, "--json", str(one), "--csv", str(table), "--plot", str(plot)]) == 0
    assert "open loop, 50 calls/s, poisson, 1 image a call" in capsys.readouterr().out
    assert json.loads(one.read_text())["failed"] == {}
    assert table.read_text().startswith("second,calls,failed,p50_ms,p99_ms\n1,")
    assert plot.read_text().startswith("<svg")
    assert main(["load", "compare", str(one), str(one), "--plot", str(plot)]) == 0
    assert "1.00" in capsys.readouterr().out


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


def test_plot_of_an_empty_run_is_still_a_plot() -> None:
    assert "</svg>" in latency_plot("nothing", [("none", Tally().latency)])
