from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from trainer.errors import TrainerError
from trainer.evaluation.mcnemar import compare_mistakes, mcnemar
from trainer.evaluation.mistakes import read_mistakes, write_mistakes


def test_four_kinds_of_images_are_counted() -> None:
    digits = np.array([1, 1, 1, 1, 1])
    result = mcnemar(digits, np.array([1, 1, 2, 2, 1]), np.array([1, 2, 1, 3, 2]))
    assert (result.both_right, result.only_first_right, result.only_second_right, result.both_wrong) == (
        1,
        2,
        1,
        1,
    )
    assert result.images == 5


@pytest.mark.parametrize(("first", "second"), [(0, 0), (3, 3), (5, 0), (12, 2), (40, 61), (2000, 1700)])
def test_p_value_is_the_exact_binomial_tests(first: int, second: int) -> None:
    result = compare_mistakes(10_000, set(range(first)), set(range(5000, 5000 + second)))
    expected = binomtest(first, first + second).pvalue if first + second else 1.0
    assert result.p_value == pytest.approx(expected, rel=1e-9)
    assert (result.only_first_right, result.only_second_right) == (second, first)


def test_five_to_none_is_not_yet_significant_and_six_is() -> None:
    assert not compare_mistakes(100, set(), set(range(5))).significant
    assert compare_mistakes(100, set(), set(range(6))).significant


def test_mistakes_survive_a_file(tmp_path: Path) -> None:
    digits, predicted = np.array([3, 1, 4, 1, 5]), np.array([3, 7, 4, 1, 6])
    write_mistakes(tmp_path / "mistakes.tsv", digits, predicted)
    assert (tmp_path / "mistakes.tsv").read_text() == "image\tdigit\tpredicted\n1\t1\t7\n4\t5\t6\n"
    assert read_mistakes(tmp_path / "mistakes.tsv") == {1, 4}


@pytest.mark.parametrize("text", ["", "image\n1\n", "image\tdigit\tpredicted\nx\t1\t2\n"])
def test_damaged_file_of_mistakes_is_named(text: str, tmp_path: Path) -> None:
    (tmp_path / "mistakes.tsv").write_text(text)
    with pytest.raises(TrainerError, match=r"mistakes\.tsv: "):
        read_mistakes(tmp_path / "mistakes.tsv")
