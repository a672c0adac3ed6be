import pytest

from trainer.fit import learning_rate_at
from trainer.recipe import Fit


def test_cosine_warms_up_peaks_and_ends_near_nothing() -> None:
    fit = Fit(epochs=10, batch_size=1, learning_rate=1.0, schedule="cosine", warmup_epochs=2)
    rates = [learning_rate_at(fit, step, 100, 10) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 200)
    assert rates[199] == rates[200] == 1.0
    assert rates[600] == pytest.approx(0.5)
    assert rates[-1] < 1e-4
    assert rates[200:] == sorted(rates[200:], reverse=True)


def test_constant_stays() -> None:
    fit = Fit(epochs=10, batch_size=1, learning_rate=0.5)
    assert {learning_rate_at(fit, step, 100, 10) for step in range(1000)} == {0.5}
