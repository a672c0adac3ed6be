"""Whether one model is better than another, or luckier, on the same images."""

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

SIGNIFICANT = 0.05


@dataclass(frozen=True)
class McNemar:
    """Two models on the same images; only those that one got right and the other wrong tell them apart."""

    images: int
    both_right: int
    only_first_right: int
    only_second_right: int
    both_wrong: int
    p_value: float

    @property
    def significant(self) -> bool:
        """Whether chance alone would make such a difference less than once in twenty times."""
        return self.p_value < SIGNIFICANT


def mcnemar(digits: NDArray[np.int64], first: NDArray[np.int64], second: NDArray[np.int64]) -> McNemar:
    """Compare two models' predicted digits [n] on images of the true digits [n].

    The p-value is that of the exact two-sided test (Q. McNemar, 1947): were the models equally good, each
    disagreement would fall either way like a fair coin.
    """
    first_right, second_right = first == digits, second == digits
    only_first = int((first_right & ~second_right).sum())
    only_second = int((~first_right & second_right).sum())
    return McNemar(
        images=len(digits),
        both_right=int((first_right & second_right).sum()),
        only_first_right=only_first,
        only_second_right=only_second,
        both_wrong=int((~first_right & ~second_right).sum()),
        p_value=_coin_p_value(only_first, only_second),
    )


def compare_mistakes(images: int, first: set[int], second: set[int]) -> McNemar:
    """Compare two models by which of the same images each got wrong."""
    digits = np.zeros(images, dtype=np.int64)
    answers = []
    for wrong in (first, second):
        answers.append(digits.copy())
        answers[-1][sorted(wrong)] = 1
    return mcnemar(digits, *answers)


def _coin_p_value(heads: int, tails: int) -> float:
    """Return how likely a fair coin falls as unevenly as this, either way."""
    n = heads + tails
    tail = sum(math.comb(n, k) for k in range(min(heads, tails) + 1))
    # Whole numbers until the last step: 2**-n alone is 0.0 from a thousand tosses on.
    return min(1.0, (2 * tail) / (1 << n))
