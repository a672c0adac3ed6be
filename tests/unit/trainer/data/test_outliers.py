"""Images without a digit for outlier exposure."""

import numpy as np
import pytest

from trainer.data.dataset import load_data
from trainer.data.outliers import draw_outliers, outlier_loss

COUNT = 1200


@pytest.fixture(scope="module")
def digits() -> np.ndarray:
    return load_data("sample").x_train[:500]


@pytest.fixture(autouse=True)
def fewer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("trainer.data.outliers.COUNT", COUNT)


def test_outliers_are_the_same_each_time_and_differ(digits: np.ndarray) -> None:
    outliers = draw_outliers(digits)
    assert (outliers.shape, outliers.dtype) == ((COUNT, 784), np.uint8)
    np.testing.assert_array_equal(outliers, draw_outliers(digits))
    assert len(np.unique(outliers, axis=0)) > 0.8 * COUNT


def test_no_outlier_is_a_digit_that_was_given(digits: np.ndarray) -> None:
    given = {image.tobytes() for image in digits}
    assert not any(outlier.tobytes() in given for outlier in draw_outliers(digits))


def test_loss_is_least_for_ten_equal_probabilities() -> None:
    equal, sure = np.full((1, 10), 0.1, np.float32), np.eye(10, dtype=np.float32)[:1]
    assert float(outlier_loss(equal)) == pytest.approx(np.log(10), rel=1e-5)
    assert float(outlier_loss(sure)) > 10
