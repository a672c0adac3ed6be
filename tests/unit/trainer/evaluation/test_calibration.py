import numpy as np
import pytest

from trainer.evaluation.calibration import BINS, calibrate


def answers(confidence: float, count: int) -> np.ndarray:
    """Rows that say 0 with this confidence and share the rest among the others."""
    row = np.full(10, (1 - confidence) / 9)
    row[0] = confidence
    return np.tile(row, (count, 1)).astype(np.float32)


def test_model_right_as_often_as_it_says_has_no_error() -> None:
    result = calibrate(np.array([0] * 9 + [1]), answers(0.9, 10))
    assert result.ece == pytest.approx(0, abs=1e-6)
    assert result.images[int(0.9 * BINS)] == result.images.sum() == 10
    assert result.accuracy[int(0.9 * BINS)] == pytest.approx(0.9)


def test_model_surer_than_right_is_off_by_the_difference() -> None:
    assert calibrate(np.array([0] * 6 + [1] * 4), answers(0.9, 10)).ece == pytest.approx(0.3, abs=1e-6)


def test_bins_weigh_by_their_images() -> None:
    digits = np.array([0] * 30 + [0] * 5 + [1] * 5)
    result = calibrate(digits, np.concatenate([answers(0.95, 30), answers(0.5, 10)]))
    assert result.ece == pytest.approx(0.75 * 0.05 + 0.25 * 0.0, abs=1e-6)


def test_nll_and_brier_by_their_formulas() -> None:
    result = calibrate(np.array([0]), answers(0.7, 1))
    assert result.nll == pytest.approx(-np.log(0.7), rel=1e-6)
    assert result.brier == pytest.approx(0.3**2 + 9 * (0.3 / 9) ** 2, rel=1e-5)


def test_certainty_in_the_wrong_digit_is_finite() -> None:
    result = calibrate(np.array([1]), answers(1.0, 1))
    assert np.isfinite(result.nll)
    assert result.brier == pytest.approx(2)
    assert result.images[-1] == 1
