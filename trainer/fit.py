"""Fit a network: shuffled batches, varied images, a learning-rate schedule, averaged weights.

Every random draw is a function of the seed and the step, and the state that a step changes is in one
place, so a training can stop after any step and go on as if it had not.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.backend import tf
from trainer.checkpoint import Checkpoint, Progress
from trainer.data.dataset import Split
from trainer.errors import TrainerError
from trainer.observer import Epoch, Observer
from trainer.prediction import Predictor, keras_predictor
from trainer.recipe import Recipe
from trainer.schedule import exported_epoch, learning_rate_at, plateau_factor, stops_early
from trainer.stop import Stopped
from trainer.trainee import Learn, Trainee, new_trainee, step_function


@dataclass(frozen=True)
class Course:
    """How long to train, the seed of every random draw, where to keep the state, when to stop early."""

    epochs: int
    seed: int
    checkpoint: Checkpoint | None = None
    stop: threading.Event | None = None


@dataclass(frozen=True)
class Fitted:
    """A fitted network, its normalization not yet folded, and how it got there."""

    network: Any
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class _Training:
    """What stays the same from the first step to the last."""

    recipe: Recipe
    split: Split
    course: Course
    observer: Observer
    trainee: Trainee
    learn: Learn


def fit_network(recipe: Recipe, split: Split, course: Course, observer: Observer) -> Fitted:
    """Fit the recipe's network to the training part, measuring each epoch on the validation part.

    With a checkpoint that holds a state, go on from there. Raises Stopped when asked to stop, the state
    saved, and TrainerError when the loss is no longer a number.
    """
    trainee = new_trainee(recipe, course.seed)
    progress = _restored(trainee, course.checkpoint)
    learn = step_function(recipe, trainee, split, course.seed)
    training = _Training(recipe, split, course, observer, trainee, learn)
    predict = keras_predictor(trainee.averaged)
    while progress.epoch < course.epochs and not stops_early(recipe.fit.early_stopping, progress.history):
        summed = _one_epoch(training, progress)
        validation_loss, validation_accuracy = _measure(predict, split.x_validation, split.y_validation)
        epoch = replace(summed, validation_loss=validation_loss, validation_accuracy=validation_accuracy)
        progress = Progress(epoch=progress.epoch + 1, history=(*progress.history, epoch))
        _keep_best(trainee, recipe, progress.history)
        _save(course.checkpoint, progress, trainee)
        observer.epoch(epoch)
    return Fitted(trainee.averaged if trainee.best is None else trainee.best, progress.history)


def _one_epoch(training: _Training, progress: Progress) -> Epoch:
    """Learn from the images that this epoch has left; validation figures are still to come."""
    fit, course = training.recipe.fit, training.course
    n, size = len(training.split.y_train), fit.batch_size
    steps = math.ceil(n / size)
    order = np.random.default_rng((course.seed, progress.epoch)).permutation(n).astype(np.int32)
    factor = plateau_factor(fit.reduce_on_plateau, progress.history, fit.learning_rate)
    loss_sum, hits, rate = progress.loss_sum, progress.hits, 0.0
    started = time.monotonic() - progress.elapsed_seconds
    for step in range(progress.step, steps):
        if course.stop is not None and course.stop.is_set():
            elapsed = time.monotonic() - started
            now = replace(progress, step=step, loss_sum=loss_sum, hits=hits, elapsed_seconds=elapsed)
            _save(course.checkpoint, now, training.trainee)
            raise Stopped(f"stopped in epoch {progress.epoch + 1} after {step} of {steps} steps")
        training.observer.step(progress.epoch, step, steps)
        number = progress.epoch * steps + step
        rate = factor * learning_rate_at(fit, number, steps, course.epochs)
        batch = order[step * size : (step + 1) * size]
        loss, right = training.learn(tf.constant(batch), tf.constant(number), tf.constant(rate))
        if not math.isfinite(float(loss)):
            raise TrainerError(
                f"training diverged: loss {float(loss)} in epoch {progress.epoch + 1}, step {step + 1}; "
                "a smaller learning_rate may help"
            )
        loss_sum += float(loss) * len(batch)
        hits += int(right)
    return Epoch(
        epoch=progress.epoch + 1,
        epochs=course.epochs,
        loss=loss_sum / n,
        accuracy=hits / n,
        validation_loss=math.nan,
        validation_accuracy=math.nan,
        learning_rate=rate,
        duration_seconds=time.monotonic() - started,
    )


def _keep_best(trainee: Trainee, recipe: Recipe, history: Sequence[Epoch]) -> None:
    """Remember the averaged weights if the last epoch is the one to export so far."""
    if trainee.best is None or exported_epoch(recipe.fit.early_stopping, history) != len(history) - 1:
        return
    for best, now in zip(trainee.best.variables, trainee.averaged.variables, strict=True):
        best.assign(now)


def _restored(trainee: Trainee, checkpoint: Checkpoint | None) -> Progress:
    state = checkpoint.load() if checkpoint else None
    if state is None:
        return Progress()
    progress, values = state
    for variable, value in zip(trainee.variables, values, strict=True):
        variable.assign(value)
    return progress


def _save(checkpoint: Checkpoint | None, progress: Progress, trainee: Trainee) -> None:
    if checkpoint is not None:
        checkpoint.save(progress, trainee.variables)


def _measure(predict: Predictor, images: NDArray[np.uint8], digits: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on images [n, 784]."""
    probabilities = predict(images)
    of_truth = probabilities[np.arange(len(digits)), digits]
    loss = float(-np.log(np.clip(of_truth, 1e-7, 1)).mean())
    return loss, float((probabilities.argmax(axis=1) == digits).mean())
