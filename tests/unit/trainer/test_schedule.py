import pytest

from trainer.observer import Epoch
from trainer.recipe import EarlyStopping, Fit, ReduceOnPlateau
from trainer.schedule import exported_epoch, learning_rate_at, plateau_factor, stops_early


def history(*losses: float) -> list[Epoch]:
    return [Epoch(i, len(losses), 0, 0, loss, 1 - loss, 0, 0) for i, loss in enumerate(losses, 1)]


def test_cosine_warms_up_peaks_and_ends_near_nothing() -> None:
    fit = Fit(epochs=10, batch_size=1, learning_rate=1.0, schedule="cosine", warmup_epochs=2)
    rates = [learning_rate_at(fit, step, 100, 10) for step in range(1000)]
    assert rates[0] == pytest.approx(1 / 200)
    assert rates[199] == rates[200] == 1.0
    assert rates[600] == pytest.approx(0.5)
    assert rates[-1] < 1e-4
    assert rates[200:] == sorted(rates[200:], reverse=True)


def test_linear_falls_evenly() -> None:
    fit = Fit(epochs=10, batch_size=1, learning_rate=1.0, schedule="linear")
    assert [learning_rate_at(fit, step, 100, 10) for step in (0, 250, 500)] == [1.0, 0.75, 0.5]


def test_constant_stays() -> None:
    fit = Fit(epochs=10, batch_size=1, learning_rate=0.5)
    assert {learning_rate_at(fit, step, 100, 10) for step in range(1000)} == {0.5}


def test_training_stops_after_patience_epochs_without_a_better_one() -> None:
    rule = EarlyStopping(patience=2)
    assert not stops_early(rule, history(0.5, 0.6))
    assert stops_early(rule, history(0.5, 0.6, 0.5))
    assert not stops_early(rule, history(0.5, 0.6, 0.4, 0.5))
    assert not stops_early(None, history(0.5, 0.6, 0.7))
    assert not stops_early(rule, [])


def test_best_epoch_is_exported_where_asked_else_the_last() -> None:
    kept = EarlyStopping(restore_best_weights=True, min_delta=0.1)
    assert exported_epoch(kept, history(0.5, 0.3, 0.25, 0.6)) == 1  # 0.25 is no improvement by 0.1
    assert exported_epoch(kept, history(0.5)) == 0
    assert exported_epoch(EarlyStopping(), history(0.5, 0.3, 0.6)) == 2
    assert exported_epoch(None, history(0.5, 0.6)) == 1


def test_accuracy_counts_as_better_when_it_is_higher() -> None:
    rule = EarlyStopping(monitor="validation_accuracy", patience=1)
    assert not stops_early(rule, history(0.5, 0.4))
    assert stops_early(rule, history(0.4, 0.5))


def test_learning_rate_falls_each_time_the_plateau_lasts() -> None:
    rule = ReduceOnPlateau(factor=0.5, patience=2)
    assert plateau_factor(rule, history(0.5, 0.6), 1.0) == 1.0
    assert plateau_factor(rule, history(0.5, 0.6, 0.6), 1.0) == 0.5
    assert plateau_factor(rule, history(0.5, 0.6, 0.6, 0.6, 0.6), 1.0) == 0.25
    assert plateau_factor(None, history(0.5, 0.6, 0.6), 1.0) == 1.0


def test_learning_rate_falls_no_lower_than_asked() -> None:
    rule = ReduceOnPlateau(factor=0.1, patience=1, lowest=0.002)
    assert plateau_factor(rule, history(0.5, 0.6, 0.6, 0.6, 0.6), 0.01) == 0.2
