import numpy as np
import pytest

from trainer.errors import ParityError
from trainer.parity import verify_parity


def answers() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(10), size=50).astype(np.float32)


def test_float_noise_passes() -> None:
    parity = verify_parity(answers(), answers() + np.float32(5e-5))
    assert parity.images == 50
    assert parity.max_difference == pytest.approx(5e-5, rel=0.01)


def test_one_other_digit_fails_and_is_named() -> None:
    expected = answers()
    expected[7, 3] = expected[7].max() + np.float32(1e-6)
    exported = expected.copy()
    exported[7, 3] -= np.float32(2e-6)
    with pytest.raises(ParityError, match="1 of 50 digits differ; test image 7 is"):
        verify_parity(expected, exported)


def test_probability_off_by_more_than_a_ten_thousandth_fails() -> None:
    with pytest.raises(ParityError, match="expected at most 1e-04"):
        verify_parity(answers(), answers() + np.float32(2e-4))


def test_nan_fails() -> None:
    exported = answers()
    exported[3, exported[3].argmin()] = np.nan
    with pytest.raises(ParityError):
        verify_parity(answers(), exported)


def test_missing_answers_fail() -> None:
    with pytest.raises(ParityError, match=r"answers \(49, 10\), expected \(50, 10\)"):
        verify_parity(answers(), answers()[:-1])
