"""Decisions about the learning rate and the end of training, each a function of what has happened so far."""

import math
from collections.abc import Sequence

from trainer.observer import Epoch
from trainer.recipe import EarlyStopping, Fit, ReduceOnPlateau


def learning_rate_at(fit: Fit, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step: linear warm-up, then as the schedule says."""
    warmup = fit.warmup_epochs * steps_per_epoch
    if step < warmup:
        return fit.learning_rate * (step + 1) / warmup
    progress = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
    if fit.schedule == "linear":
        return fit.learning_rate * (1 - progress)
    if fit.schedule == "cosine":
        return fit.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))
    return fit.learning_rate


def best_epoch(rule: EarlyStopping, history: Sequence[Epoch]) -> int:
    """Return the position in `history` of the last epoch that improved on those before it."""
    best = 0
    for i, epoch in enumerate(history):
        if _score(rule.monitor, epoch) > _score(rule.monitor, history[best]) + rule.min_delta:
            best = i
    return best


def stops_early(rule: EarlyStopping | None, history: Sequence[Epoch]) -> bool:
    """Say whether the last epoch was one too many without improvement."""
    if rule is None or not history:
        return False
    return len(history) - 1 - best_epoch(rule, history) >= rule.patience


def exported_epoch(rule: EarlyStopping | None, history: Sequence[Epoch]) -> int:
    """Return the position in `history` of the epoch whose weights are exported."""
    if rule is None or not rule.restore_best_weights:
        return len(history) - 1
    return best_epoch(rule, history)


def plateau_factor(rule: ReduceOnPlateau | None, history: Sequence[Epoch], learning_rate: float) -> float:
    """Return what to multiply the learning rate by after these epochs."""
    if rule is None:
        return 1.0
    factor, since_best, best = 1.0, 0, -math.inf
    for epoch in history:
        score = _score(rule.monitor, epoch)
        if score > best + rule.min_delta:
            best, since_best = score, 0
            continue
        since_best += 1
        if since_best >= rule.patience:
            factor, since_best = factor * rule.factor, 0
    return max(factor, min(1.0, rule.lowest / learning_rate) if learning_rate else 1.0)


def _score(monitor: str, epoch: Epoch) -> float:
    """Return the monitored number so that more is better."""
    value: float = getattr(epoch, monitor)
    return -value if monitor.endswith("loss") else value
