from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trainer.errors import TrainerError
from trainer.report.scores import (
    MISCLASSIFIED,
    Metrics,
    compare_misclassified,
    digit_curves,
    read_misclassified,
    reliability,
    score,
    wilson,
    write_misclassified,
)


def rows(confidence: float, count: int) -> np.ndarray:
    """Probabilities with this confidence in 0 and the rest shared among the other digits."""
    row = np.full(10, (1 - confidence) / 9)
    row[0] = confidence
    return np.tile(row, (count, 1)).astype(np.float32)


def of(digits: list[int], predicted: list[int]) -> Metrics:
    return score(np.array(digits), np.eye(10, dtype=np.float32)[predicted])


def test_tutorials_numbers_for_digit_0() -> None:
    scores = of([0] * 980 + [1] * 23 + [2], [0] * 967 + [5] * 13 + [0] * 23 + [2])
    assert round(scores["digit_0_precision"], 4) == 0.9768
    assert round(scores["digit_0_recall"], 4) == 0.9867
    assert round(scores["digit_0_f1"], 4) == 0.9817


def test_confusion_counts_true_by_predicted() -> None:
    scores = of([3, 3, 5], [3, 8, 5])
    confusion = scores["confusion_matrix"]
    assert (confusion[3][3], confusion[3][8], confusion[5][5]) == (1, 1, 1)
    assert (scores["test_images"], scores["test_errors_images"], scores["test_accuracy"]) == (
        3,
        1,
        pytest.approx(2 / 3),
    )


def test_digit_never_seen_and_never_predicted_scores_zero() -> None:
    scores = of([1, 2], [1, 2])
    assert (scores["digit_7_precision"], scores["digit_7_recall"], scores["digit_7_f1"]) == (0, 0, 0)


def test_model_right_as_often_as_its_confidence_has_no_calibration_error() -> None:
    digits = np.array([0] * 9 + [1])
    assert score(digits, rows(0.9, 10))["test_ece"] == pytest.approx(0, abs=1e-6)
    images, confidence, accuracy = reliability(digits, rows(0.9, 10))
    assert (images.tolist(), confidence[0], accuracy[0]) == ([10], pytest.approx(0.9), pytest.approx(0.9))


def test_overconfidence_is_the_calibration_error_and_bins_weigh_by_their_images() -> None:
    assert score(np.array([0] * 6 + [1] * 4), rows(0.9, 10))["test_ece"] == pytest.approx(0.3, abs=1e-6)
    digits = np.array([0] * 30 + [0] * 5 + [1] * 5)
    scores = score(digits, np.concatenate([rows(0.95, 30), rows(0.5, 10)]))
    assert scores["test_ece"] == pytest.approx(0.75 * 0.05, abs=1e-6)


def test_nll_and_brier_by_their_formulas() -> None:
    scores = score(np.array([0]), rows(0.7, 1))
    assert scores["test_nll_nats"] == pytest.approx(-np.log(0.7), rel=1e-5)
    assert scores["test_brier"] == pytest.approx(0.3**2 + 9 * (0.3 / 9) ** 2, rel=1e-5)


def test_certainty_in_the_wrong_digit_is_finite() -> None:
    scores = score(np.array([1]), rows(1.0, 1))
    assert np.isfinite(scores["test_nll_nats"])
    assert scores["test_brier"] == pytest.approx(2)


def test_perfect_predictions_have_areas_of_1() -> None:
    digits = np.arange(100) % 10
    for curves in digit_curves(digits, np.eye(10, dtype=np.float32)[digits]):
        assert curves.auroc == curves.average_precision == 1


def test_auroc_is_the_probability_that_an_own_image_ranks_above_another() -> None:
    rng = np.random.default_rng(3)
    digits = rng.integers(0, 10, 400)
    probabilities = rng.dirichlet(np.ones(10), 400).astype(np.float32)
    own, others = probabilities[digits == 4, 4], probabilities[digits != 4, 4]
    assert digit_curves(digits, probabilities)[4].auroc == pytest.approx((own[:, None] > others).mean())


def test_digit_without_images_has_no_curve() -> None:
    curves = digit_curves(np.array([1, 2]), np.full((2, 10), 0.1, np.float32))[0]
    assert np.isnan(curves.auroc)
    assert len(curves.recall) == 0


def test_interval_of_a_published_example() -> None:
    # Newcombe (1998), table I: 81 of 263.
    low, high = wilson(81, 263)
    assert (round(low, 4), round(high, 4)) == (0.2553, 0.3662)


@given(st.integers(0, 10_000).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_share_lies_in_its_interval_and_that_within_0_to_1(counts: tuple[int, int]) -> None:
    successes, trials = counts
    low, high = wilson(successes, trials)
    assert 0 <= low <= high <= 1
    assert not trials or low - 1e-12 <= successes / trials <= high + 1e-12


def test_mcnemar_counts_the_four_kinds_of_images() -> None:
    result = compare_misclassified(6, first={1, 2, 3}, second={3, 4})
    assert (result.both_right, result.only_first_right, result.only_second_right, result.both_wrong) == (
        2,
        1,
        2,
        1,
    )


def test_five_to_none_is_not_significant_and_six_is() -> None:
    assert not compare_misclassified(100, set(), set(range(5))).significant
    assert compare_misclassified(100, set(), set(range(6))).significant
    assert compare_misclassified(100, set(), set()).p_value == 1


def test_misclassified_images_survive_a_file(tmp_path: Path) -> None:
    path = tmp_path / MISCLASSIFIED
    write_misclassified(path, np.array([3, 1, 4, 1, 5]), np.array([3, 7, 4, 1, 6]))
    assert path.read_text() == "image\tdigit\tpredicted\n1\t1\t7\n4\t5\t6\n"
    assert read_misclassified(path) == {1, 4}


@pytest.mark.parametrize("text", ["", "image\n1\n", "image\tdigit\tpredicted\nx\t1\t2\n"])
def test_damaged_file_of_misclassified_images_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / MISCLASSIFIED).write_text(text)
    with pytest.raises(TrainerError, match=r"misclassified\.tsv: "):
        read_misclassified(tmp_path / MISCLASSIFIED)
