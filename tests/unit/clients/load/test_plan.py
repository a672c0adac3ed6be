import numpy as np
import pytest

from clients import Connection, InputError
from clients.load.plan import Plan

HERE = Connection()


def test_constant_arrivals_are_evenly_spaced() -> None:
    due = Plan(connection=HERE, rate=4, seconds=2, arrivals="constant").due_seconds()
    np.testing.assert_allclose(due, [0, 0.25, 0.5, 0.75, 1, 1.25, 1.5, 1.75])


def test_poisson_arrivals_are_as_many_and_as_irregular_as_strangers() -> None:
    due = Plan(connection=HERE, rate=1000, seconds=20).due_seconds()
    assert abs(len(due) - 20_000) < 5 * np.sqrt(20_000)
    assert due[-1] < 20
    gaps = np.diff(due)
    assert (gaps >= 0).all()
    assert abs(gaps.std() / gaps.mean() - 1) < 0.05  # an exponential's deviation is its mean


@pytest.mark.parametrize(("rate", "end_rate"), [(100.0, 300.0), (300.0, 100.0)])
def test_ramp_changes_the_rate_in_a_straight_line(rate: float, end_rate: float) -> None:
    due = Plan(connection=HERE, rate=rate, end_rate=end_rate, seconds=10, arrivals="constant").due_seconds()
    assert len(due) == 2000
    counts, _ = np.histogram(due, 10, (0, 10))
    expected = rate + (end_rate - rate) * (np.arange(10) + 0.5) / 10
    np.testing.assert_allclose(counts, expected, atol=2)


def test_processes_share_the_load_and_no_two_send_at_the_same_times() -> None:
    plan = Plan(connection=HERE, rate=900, in_flight=9, connections=3, processes=3)
    shares = [plan.share(process) for process in range(3)]
    assert [(s.rate, s.in_flight, s.connections) for s in shares] == [(300, 3, 1)] * 3
    assert not np.isin(shares[0].due_seconds(), shares[1].due_seconds()).any()


@pytest.mark.parametrize(
    ("wrong", "complaint"),
    [
        ({"seconds": 1, "warmup_seconds": 1}, "warm-up is 1 s, expected less than the run's 1 s"),
        ({"rate": 1e7, "seconds": 10}, "100,000,000 calls in one run"),
        ({"end_rate": 5}, "an end rate needs a rate"),
    ],
)
def test_impossible_plan_is_refused(wrong: dict[str, float], complaint: str) -> None:
    with pytest.raises(InputError, match=complaint):
        Plan(connection=HERE, **wrong)
