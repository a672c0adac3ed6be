import numpy as np
import pytest
from numpy.typing import NDArray

from clients import Connection, InputError
from clients.load.workload import Workload

HERE = Connection()


def due_seconds(workload: Workload) -> NDArray[np.float64]:
    return np.concatenate(list(workload.due_seconds()))


def test_constant_arrivals_are_evenly_spaced() -> None:
    due = due_seconds(Workload(connection=HERE, rate=4, seconds=2, arrivals="constant"))
    np.testing.assert_allclose(due, [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])


def test_poisson_arrivals_are_as_many_and_as_irregular_as_strangers() -> None:
    due = due_seconds(Workload(connection=HERE, rate=1000, seconds=20))
    assert abs(len(due) - 20_000) < 5 * np.sqrt(20_000)
    assert due[-1] < 20
    gaps = np.diff(due)
    assert (gaps >= 0).all()
    assert abs(gaps.std() / gaps.mean() - 1) < 0.05  # an exponential's deviation is its mean


@pytest.mark.parametrize(("rate", "end_rate"), [(100.0, 300.0), (300.0, 100.0)])
def test_ramp_changes_the_rate_in_a_straight_line(rate: float, end_rate: float) -> None:
    ramp = Workload(connection=HERE, rate=rate, end_rate=end_rate, seconds=10, arrivals="constant")
    due = due_seconds(ramp)
    assert len(due) == 2000
    counts, _ = np.histogram(due, 10, (0, 10))
    expected = rate + (end_rate - rate) * (np.arange(10) + 0.5) / 10
    np.testing.assert_allclose(counts, expected, atol=2)


def test_schedule_of_a_day_is_not_kept_in_memory() -> None:
    day = Workload(connection=HERE, rate=100_000, seconds=86_400).due_seconds()
    assert len(next(day)) < 10_000


def test_processes_share_the_load_and_no_two_send_at_the_same_times() -> None:
    shares = Workload(connection=HERE, rate=900, seconds=20, connections=3, processes=3).shares()
    due = [due_seconds(share) for share in shares]
    assert [share.connections for share in shares] == [1, 1, 1]
    for part in due:
        assert abs(len(part) - 6000) < 5 * np.sqrt(6000)
    assert not np.isin(due[0], due[1]).any()


def test_constant_arrivals_over_several_processes_are_constant() -> None:
    whole = Workload(connection=HERE, rate=100, seconds=3, arrivals="constant")
    parts = Workload(connection=HERE, rate=100, seconds=3, arrivals="constant", processes=4).shares()
    due = np.sort(np.concatenate([due_seconds(part) for part in parts]))
    np.testing.assert_allclose(due, due_seconds(whole))


@pytest.mark.parametrize(("in_flight", "parts"), [(2, [1, 1]), (9, [3, 2, 2, 2]), (64, [16] * 4)])
def test_calls_in_flight_are_divided_exactly(in_flight: int, parts: list[int]) -> None:
    shares = Workload(connection=HERE, in_flight=in_flight, processes=4).shares()
    assert [share.in_flight for share in shares] == parts


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"seconds": 1, "warmup_seconds": 1}, "warm-up is 1 s, expected less than the run's 1 s"),
        ({"rate": 1e7}, "rate is 10,000,000 calls/s, expected at most 1,000,000"),
        ({"end_rate": 5}, "an end rate needs a rate"),
    ],
)
def test_impossible_workload_is_refused(wrong: dict[str, float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Workload(connection=HERE, **wrong)
