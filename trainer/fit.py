"""Fit a network: shuffled batches, varied images, a learning-rate schedule, averaged weights.

Every random draw is a function of the seed and the step, and the state that a step changes is in one
place, so a run can stop after any step and go on as if it had not.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.augment import augment
from trainer.backend import keras, tf
from trainer.data.dataset import Split
from trainer.network import training_network
from trainer.observer import Epoch, Observer
from trainer.precision import precision_policy
from trainer.prediction import Predictor, keras_predictor
from trainer.recipe import Fit, Recipe

_STATISTICS_AVERAGE = 0.99


@dataclass(frozen=True)
class Course:
    """How long to train, and the seed of every random draw."""

    epochs: int
    seed: int


@dataclass(frozen=True)
class Fitted:
    """A fitted network, its normalization not yet folded, and how it got there."""

    network: Any
    history: tuple[Epoch, ...]


@dataclass(frozen=True)
class _Trainee:
    """What a step changes: the network that learns, the average of its weights, the optimizer's memory."""

    network: Any
    averaged: Any
    optimizer: Any


def learning_rate_at(fit: Fit, step: int, steps_per_epoch: int, epochs: int) -> float:
    """Return the learning rate of a step: linear warm-up, then as the schedule says."""
    warmup = fit.warmup_epochs * steps_per_epoch
    if step < warmup:
        return fit.learning_rate * (step + 1) / warmup
    if fit.schedule == "constant":
        return fit.learning_rate
    progress = (step - warmup) / max(1.0, epochs * steps_per_epoch - warmup)
    return fit.learning_rate * 0.5 * (1 + math.cos(math.pi * progress))


def fit_network(recipe: Recipe, split: Split, course: Course, observer: Observer) -> Fitted:
    """Fit the recipe's network to the training part, measuring each epoch on the validation part."""
    trainee = _new_trainee(recipe, course.seed)
    learn = _step_function(recipe, trainee, split, course.seed)
    predict = keras_predictor(trainee.averaged)
    n = len(split.y_train)
    steps = math.ceil(n / recipe.fit.batch_size)
    history: list[Epoch] = []
    for epoch in range(course.epochs):
        started = time.monotonic()
        order = np.random.default_rng((course.seed, epoch)).permutation(n).astype(np.int32)
        loss_sum, hits, rate = 0.0, 0, 0.0
        for step in range(steps):
            observer.step(epoch, step, steps)
            number = epoch * steps + step
            rate = learning_rate_at(recipe.fit, number, steps, course.epochs)
            batch = order[step * recipe.fit.batch_size : (step + 1) * recipe.fit.batch_size]
            loss, right = learn(tf.constant(batch), tf.constant(number), tf.constant(rate))
            loss_sum += float(loss) * len(batch)
            hits += int(right)
        validation_loss, validation_accuracy = _measure(predict, split.x_validation, split.y_validation)
        history.append(
            Epoch(
                epoch=epoch + 1,
                epochs=course.epochs,
                loss=loss_sum / n,
                accuracy=hits / n,
                validation_loss=validation_loss,
                validation_accuracy=validation_accuracy,
                learning_rate=rate,
                duration_seconds=time.monotonic() - started,
            )
        )
        observer.epoch(history[-1])
    return Fitted(trainee.averaged, tuple(history))


def _new_trainee(recipe: Recipe, seed: int) -> _Trainee:
    keras.utils.set_random_seed(seed)
    network = training_network(recipe, precision_policy(recipe.fit.precision))
    averaged = training_network(recipe, "float32")
    averaged.set_weights(network.get_weights())
    optimizer = keras.optimizers.Adam(recipe.fit.learning_rate)
    optimizer.build(network.trainable_variables)
    return _Trainee(network, averaged, optimizer)


def _measure(predict: Predictor, images: NDArray[np.uint8], digits: NDArray[np.int64]) -> tuple[float, float]:
    """Return mean cross-entropy and accuracy on images [n, 784]."""
    probabilities = predict(images)
    of_truth = probabilities[np.arange(len(digits)), digits]
    loss = float(-np.log(np.clip(of_truth, 1e-7, 1)).mean())
    return loss, float((probabilities.argmax(axis=1) == digits).mean())


def _step_function(
    recipe: Recipe, trainee: _Trainee, split: Split, seed: int
) -> Callable[[Any, Any, Any], tuple[Any, Any]]:
    """Return a compiled function of (positions int32 [b], step, learning rate) -> (loss, hits)."""
    network, optimizer = trainee.network, trainee.optimizer
    x_train, y_train = tf.constant(split.x_train), tf.constant(split.y_train)
    smoothing = recipe.fit.label_smoothing
    signature = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.float32)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def step(positions: Any, number: Any, rate: Any) -> tuple[Any, Any]:
        # Eight seeds a step: each kind of variation draws from its own.
        images = augment(tf.gather(x_train, positions), recipe.augment, tf.stack([number * 8, seed]))
        digits = tf.gather(y_train, positions)
        wanted = tf.one_hot(digits, 10) * (1 - smoothing) + smoothing / 10
        with tf.GradientTape() as tape:
            probabilities = network(images, training=True)
            loss = tf.reduce_mean(keras.losses.categorical_crossentropy(wanted, probabilities))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        _average(trainee, recipe.fit.weight_average, tf.cast(number, tf.float32))
        return loss, tf.reduce_sum(tf.cast(tf.argmax(probabilities, axis=1) == digits, tf.int32))

    return step  # type: ignore[no-any-return]  # tensorflow ships no types


def _average(trainee: _Trainee, weight_average: float, step: Any) -> None:
    """Move the averaged weights and batch statistics towards the network's."""
    # An average over the first steps would hold on to the random start; it begins short and grows.
    longest = (1.0 + step) / (10.0 + step)
    learned = {id(variable) for variable in trainee.network.trainable_variables}
    for mean, variable in zip(trainee.averaged.variables, trainee.network.variables, strict=True):
        if mean.dtype != "float32":
            continue  # the state of a random generator
        wanted = weight_average if id(variable) in learned else max(weight_average, _STATISTICS_AVERAGE)
        keep = tf.minimum(wanted, longest)
        mean.assign(keep * mean + (1.0 - keep) * variable)
