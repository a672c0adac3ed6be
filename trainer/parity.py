"""Proof that the exported graph answers as the trained network does."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.errors import ParityError

MAX_DIFFERENCE = 1e-4


@dataclass(frozen=True)
class Parity:
    """How closely two sets of probabilities agree."""

    images: int
    max_difference: float


def verify_parity(expected: NDArray[np.float32], exported: NDArray[np.float32]) -> Parity:
    """Compare probabilities [n, 10] of the trained network with those of the exported graph.

    Raises ParityError unless every digit is the same and no probability differs by more than 1e-4.
    """
    if expected.shape != exported.shape:
        raise ParityError(f"exported graph answers {exported.shape}, expected {expected.shape}")
    digits, exported_digits = expected.argmax(axis=1), exported.argmax(axis=1)
    if (wrong := np.flatnonzero(digits != exported_digits)).size:
        first = wrong[0]
        raise ParityError(
            f"exported graph: {wrong.size} of {len(digits)} digits differ; test image {first} is "
            f"{exported_digits[first]}, expected {digits[first]} as Keras says"
        )
    # A NaN compares as no difference at all, so ask for the opposite.
    difference = np.abs(expected - exported)
    if not (difference <= MAX_DIFFERENCE).all():
        row = int(np.nan_to_num(difference, nan=np.inf).max(axis=1).argmax())
        raise ParityError(
            f"exported graph: probabilities of test image {row} differ by {difference[row].max():.1e}, "
            f"expected at most {MAX_DIFFERENCE:.0e}"
        )
    return Parity(len(digits), float(difference.max()))
