"""How far a share that was counted may be from the share there is."""

import math
from dataclasses import dataclass

_Z = 1.959963984540054
"""Quantile of the standard normal distribution that leaves 2.5 % above it."""


@dataclass(frozen=True)
class Interval:
    """A 95 % confidence interval of a share, 0-1."""

    low: float
    high: float


def wilson(successes: int, trials: int) -> Interval:
    """Return the 95 % interval of a share by E. B. Wilson's score (1927); all of 0-1 without trials.

    Unlike share +- 2 sigma it stays within 0-1 and is honest near both ends, where digits are.
    """
    if trials == 0:
        return Interval(0.0, 1.0)
    share, spread = successes / trials, _Z**2 / trials
    centre = (share + spread / 2) / (1 + spread)
    half = math.sqrt(share * (1 - share) * spread + spread**2 / 4) / (1 + spread)
    # Rounding may carry an end past the share itself where all or none succeeded.
    return Interval(min(share, max(0.0, centre - half)), max(share, min(1.0, centre + half)))
