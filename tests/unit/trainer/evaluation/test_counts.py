import numpy as np
import pytest

from trainer.evaluation.counts import evaluate


def test_tutorials_numbers_for_digit_0() -> None:
    # TP 967, FP 23, FN 13
    true = np.array([0] * 967 + [1] * 23 + [0] * 13 + [1] * 100)
    predicted = np.array([0] * 967 + [0] * 23 + [1] * 13 + [1] * 100)
    result = evaluate(true, predicted)
    assert result.precision[0] == pytest.approx(0.9768, abs=5e-5)
    assert result.recall[0] == pytest.approx(0.9867, abs=5e-5)
    assert result.f1[0] == pytest.approx(0.9817, abs=5e-5)


def test_confusion_counts_true_by_predicted() -> None:
    result = evaluate(np.array([3, 3, 5]), np.array([3, 8, 5]))
    assert result.confusion[3, 8] == 1
    assert result.confusion[8, 3] == 0
    assert result.accuracy == pytest.approx(2 / 3)
    assert result.images == 3


def test_digit_never_seen_and_never_predicted_scores_nothing() -> None:
    result = evaluate(np.array([1]), np.array([1]))
    assert result.precision[0] == result.recall[0] == result.f1[0] == 0
