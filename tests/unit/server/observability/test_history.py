"""The history of the metrics."""

from collections import Counter

import pytest

from server.observability.history import MOMENTS, History, Moment, Span
from server.observability.series import Store
from server.observability.table import REQUESTS

INFINITY = float("inf")


def span(seconds: float = 10.0, *, batches: float = 0, images: float = 0, **changes: object) -> Span:
    before = Moment(100.0, Counter({"OK": 5}), 7.0, 3.0, {0.001: 2.0, 0.01: 5.0, INFINITY: 5.0})
    after = Moment(100.0 + seconds, Counter({"OK": 5}), 7.0 + images, 3.0 + batches, before.buckets)
    for name, value in changes.items():
        object.__setattr__(after, name, value)
    return Span(before, after)


def test_rates_are_of_what_came_since() -> None:
    busy = span(10.0, codes=Counter({"OK": 85, "NOT_FOUND": 20}), images=300, batches=20)
    assert busy.calls_per_second() == 10
    assert busy.errors_per_second() == 2
    assert busy.images_per_second() == 30
    assert busy.batch_images() == 15


def test_nothing_happened() -> None:
    quiet = span()
    assert quiet.calls_per_second() == quiet.errors_per_second() == quiet.images_per_second() == 0
    assert quiet.batch_images() is None
    assert quiet.latency_ms(0.5) is None


def test_version_that_goes_takes_its_images_along_and_no_rate_is_negative() -> None:
    assert span(images=-5, batches=-1).images_per_second() == 0
    assert span(images=-5, batches=-1).batch_images() is None


@pytest.mark.parametrize(("quantile", "milliseconds"), [(0.25, 0.5), (0.5, 1.0), (0.75, 5.5), (1.0, 10.0)])
def test_quantiles_lie_within_their_bucket(quantile: float, milliseconds: float) -> None:
    calls = span(buckets={0.001: 52.0, 0.01: 105.0, INFINITY: 105.0})  # 50 in the first, 50 in the second
    assert calls.latency_ms(quantile) == pytest.approx(milliseconds)


def test_quantile_past_the_buckets_is_the_last_bound() -> None:
    assert span(buckets={0.001: 2.0, 0.01: 5.0, INFINITY: 15.0}).latency_ms(0.99) == 10


def test_a_quarter_of_an_hour_is_kept() -> None:
    store = Store()
    history = History(store.read)
    for _ in range(MOMENTS + 5):
        store.add(REQUESTS, "s", "Predict", "OK")
        history.record()
    assert len(history.each(Span.calls_per_second)) == MOMENTS
    assert history.ends() == {"OK": MOMENTS}
