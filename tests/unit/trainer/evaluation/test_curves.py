import numpy as np
import pytest

from trainer.evaluation.curves import digit_curves


def test_perfect_answers_fill_the_square() -> None:
    digits = np.arange(100) % 10
    for curves in digit_curves(digits, np.eye(10, dtype=np.float32)[digits]):
        assert curves.roc_auc == curves.average_precision == 1
        assert curves.true_positive_rate[-1] == curves.recall[-1] == 1


def test_area_is_how_often_an_own_image_ranks_above_another() -> None:
    rng = np.random.default_rng(3)
    digits = rng.integers(0, 10, 400)
    probabilities = rng.dirichlet(np.ones(10), 400).astype(np.float32)
    curves = digit_curves(digits, probabilities)[4]
    own, others = probabilities[digits == 4, 4], probabilities[digits != 4, 4]
    assert curves.roc_auc == pytest.approx((own[:, None] > others).mean())


def test_long_curves_are_thinned_to_their_ends_and_bends() -> None:
    rng = np.random.default_rng(3)
    digits = rng.integers(0, 10, 5000)
    curves = digit_curves(digits, rng.dirichlet(np.ones(10), 5000).astype(np.float32))[0]
    assert len(curves.recall) <= 252
    assert (curves.recall[0], curves.recall[-1]) == (0, 1)
    assert (np.diff(curves.recall) >= 0).all()


def test_digit_that_is_not_there_has_no_curve() -> None:
    curves = digit_curves(np.array([1, 2]), np.full((2, 10), 0.1, np.float32))[0]
    assert np.isnan(curves.roc_auc)
    assert len(curves.recall) == 0
