"""The history of the metrics."""

from collections import Counter

import numpy as np
import pytest

from server.observability.history import FIGURES, MOMENTS, History, Moment, figures
from server.observability.series import Store
from server.observability.table import DURATION_BUCKETS, REQUESTS

BEFORE = Moment(100.0, Counter({"OK": 5}), 7.0, 3.0, np.zeros(len(DURATION_BUCKETS) + 1))


def unary(**calls: int) -> np.ndarray:
    """Return calls by bucket, each named by its index from the end."""
    counts = np.zeros(len(DURATION_BUCKETS) + 1)
    for name, count in calls.items():
        counts[-int(name[1:])] = count
    return counts


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, (0, 0, None, None, None, 0)),
        (
            {"codes": Counter({"OK": 85, "NOT_FOUND": 20}), "images": 307, "batches": 23},
            (10, 30, 15, None, None, 2),
        ),
        # A version that is unloaded takes its counts along, and no rate is negative.
        ({"images": 2, "batches": 2}, (0, 0, None, None, None, 0)),
        # Quantiles are interpolated: half of the calls took 2.5 to 5 s, the others 5 to 10 s.
        ({"unary": unary(_3=50, _2=50)}, (0, 0, None, 5_000, 9_900, 0)),
        ({"unary": unary(_3=10, _1=90)}, (0, 0, None, 10_000, 10_000, 0)),  # longer than the last bound
    ],
)
def test_figures_are_of_what_came_between_two_moments(
    changes: dict[str, object], expected: tuple[float | None, ...]
) -> None:
    after = BEFORE._replace(at=110.0, **changes)
    assert figures(BEFORE, after) == pytest.approx(expected)


def test_a_quarter_of_an_hour_is_kept() -> None:
    store = Store()
    history = History(store.read)
    for _ in range(MOMENTS + 5):
        store.add(REQUESTS, "s", "Predict", "OK")
        history.record()
    kept = history.figures()
    assert tuple(kept) == FIGURES
    assert {len(values) for values in kept.values()} == {MOMENTS}
    assert history.ends() == {"OK": MOMENTS}
