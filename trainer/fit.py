"""Fitting: shuffled batches, augmentation, Keras's optimizer, schedule and callbacks.

Random numbers are functions of seed and step, and the checkpoint has all state, so a training resumed after
its last finished epoch gives the same result as an uninterrupted one.
"""

import math
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.backend import create_callback, create_loss, create_optimizer, keras, tf
from trainer.data.augment import augment
from trainer.data.dataset import Split
from trainer.data.outliers import draw_outliers, outlier_loss
from trainer.errors import RecipeError, Stopped, TrainerError
from trainer.network import training_network, warm_momentum
from trainer.progress import Progress
from trainer.recipe import Augment, Recipe
from trainer.run import Epoch, load_checkpoint, save_checkpoint
from trainer.teacher import load_teacher

_EVALUATION_BATCH_IMAGES = 500


@dataclass(frozen=True)
class FitResult:
    """A fitted network, normalization not yet folded, and the row of `history` with its weights."""

    network: Any
    history: tuple[Epoch, ...]
    exported_epoch: int


@dataclass(frozen=True)
class TrainState:
    """The state of a training.

    `averaged` is the network that is evaluated and exported, with the averaged weights if the optimizer has
    `use_ema`, otherwise the weights.
    """

    network: Any
    averaged: Any
    optimizer: Any
    early_stopping: Any | None
    reduce_lr_on_plateau: Any | None
    ema_momentum: float

    @property
    def callbacks(self) -> list[Any]:
        """Keras's callbacks, in order."""
        return [each for each in (self.early_stopping, self.reduce_lr_on_plateau) if each is not None]

    def arrays(self) -> list[NDArray[Any]]:
        """Return all values, in constant order."""
        values = [*self.network.variables, *self.optimizer.variables]
        best = self.early_stopping.best_weights if self.early_stopping else None
        return [np.asarray(value) for value in values] + list(best or [])

    def restore(self, arrays: Sequence[NDArray[Any]], history: Sequence[Epoch]) -> None:
        """Restore the values of a checkpoint, and replay its epochs to the callbacks."""
        for epoch in history:
            self.end_epoch(epoch)
        variables = [*self.network.variables, *self.optimizer.variables]
        for variable, value in zip(variables, arrays, strict=False):
            variable.assign(value)
        if self.early_stopping and self.early_stopping.best_weights is not None:
            self.early_stopping.best_weights = list(arrays[len(variables) :])
        self.average()

    def average(self) -> None:
        """Update the averaged network."""
        for mean, variable in zip(self.averaged.variables, self.network.variables, strict=True):
            mean.assign(variable)
        self.optimizer.finalize_variable_values(self.averaged.trainable_variables)

    def end_epoch(self, epoch: Epoch) -> None:
        """Run the callbacks, which may change the learning rate or stop the training."""
        for callback in self.callbacks:
            callback.on_epoch_end(epoch.epoch - 1, asdict(epoch))


def fit(  # noqa: PLR0913  # what to fit, to what, how long, and where the state goes
    recipe: Recipe,
    split: Split,
    *,
    epochs: int,
    seed: int,
    policy: str,
    progress: Progress,
    checkpoint: Path | None = None,
    stop: threading.Event | None = None,
) -> FitResult:
    """Fit the recipe's network to the training images, evaluating each epoch on the validation images.

    `policy` is the Keras dtype policy. Training resumes from a checkpoint with a state. Raises Stopped if
    `stop` was requested, and TrainerError if the loss becomes NaN.
    """
    steps = math.ceil(len(split.y_train) / recipe.fit.batch_size)
    state = create_state(recipe, policy, seed, steps, epochs)
    history: tuple[Epoch, ...] = ()
    if checkpoint is not None and (saved := load_checkpoint(checkpoint)) is not None:
        history, arrays = saved
        state.restore(arrays, history)
    outliers = draw_outliers(split.x_train) if recipe.fit.outliers else None
    train_step_of = cache(partial(train_step_function, recipe, state, split, outliers, seed))
    evaluate = evaluate_function(recipe, state.averaged)
    while len(history) < epochs and not state.averaged.stop_training:
        started = time.monotonic()
        order = np.random.default_rng((seed, len(history))).permutation(len(split.y_train)).astype(np.int32)
        train_step = train_step_of(recipe.augment.in_epoch(len(history) + 1, epochs))
        loss_sum, hits = 0.0, 0
        for step in progress.steps(len(history) + 1, epochs, steps):
            if stop is not None and stop.is_set():
                raise Stopped(f"stopped in epoch {len(history) + 1}, which will be trained again")
            batch = order[step * recipe.fit.batch_size : (step + 1) * recipe.fit.batch_size]
            loss, right = train_step(tf.constant(batch))
            if not math.isfinite(float(loss)):
                raise TrainerError(
                    f"training diverged: loss {float(loss)} in epoch {len(history) + 1}, step {step + 1}; "
                    "a smaller learning_rate may help"
                )
            loss_sum += float(loss) * len(batch)
            hits += int(right)
        state.average()
        val_loss, val_accuracy = evaluate(split.x_validation, split.y_validation)
        epoch = Epoch(
            epoch=len(history) + 1,
            epochs=epochs,
            loss=loss_sum / len(order),
            accuracy=hits / len(order),
            val_loss=val_loss,
            val_accuracy=val_accuracy,
            learning_rate=float(state.optimizer.learning_rate),
            duration_seconds=time.monotonic() - started,
        )
        history = (*history, epoch)
        state.end_epoch(epoch)
        if checkpoint is not None:
            save_checkpoint(checkpoint, history, state.arrays())
        progress.epoch(epoch)
    exported = len(history) - 1
    if state.early_stopping is not None:
        state.early_stopping.on_train_end()  # restores the best epoch's weights, if the recipe says so
        exported = state.early_stopping.best_epoch if state.early_stopping.restore_best_weights else exported
    return FitResult(state.averaged, history, exported)


def create_state(recipe: Recipe, policy: str, seed: int, steps_per_epoch: int, epochs: int) -> TrainState:
    """Return the recipe's network with random weights, equal for equal seeds."""
    keras.utils.set_random_seed(seed)
    network, averaged = training_network(recipe, policy), training_network(recipe)
    optimizer = create_optimizer(recipe, steps_per_epoch, epochs)
    optimizer.build(network.trainable_variables)
    network.compile(optimizer)
    early_stopping = create_callback(
        "EarlyStopping", recipe.fit.early_stopping, f"{recipe.source}: fit.early_stopping"
    )
    where = f"{recipe.source}: fit.reduce_lr_on_plateau"
    plateau = create_callback("ReduceLROnPlateau", recipe.fit.reduce_lr_on_plateau, where)
    table = recipe.fit.optimizer
    if plateau is not None and isinstance(table, dict) and isinstance(table.get("learning_rate"), dict):
        raise RecipeError(
            f"{where}: cannot change a schedule, expected a number as fit.optimizer.learning_rate"
        )
    state = TrainState(network, averaged, optimizer, early_stopping, plateau, float(optimizer.ema_momentum))
    averaged.stop_training = False
    for callback in state.callbacks:
        callback.set_model(network if callback is plateau else averaged)
        callback.on_train_begin()
    return state


def train_step_function(  # noqa: PLR0913, PLR0917  # what is trained, on what, and how
    recipe: Recipe,
    state: TrainState,
    split: Split,
    outliers: NDArray[np.uint8] | None,
    seed: int,
    how: Augment,
) -> Any:
    """Return a compiled function of indices int32 [b] -> (mean loss, number of correct images).

    `outliers` are images uint8 [m, 784] without a digit, if the recipe trains with them; `how` augments.
    """
    network, optimizer, loss_of = state.network, state.optimizer, create_loss(recipe)
    teacher, exposure = load_teacher(recipe), recipe.fit.outliers
    others: Any = None if outliers is None else tf.constant(outliers)
    x_train, y_train = tf.constant(split.x_train), tf.constant(split.y_train)

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int32)], autograph=False)  # type: ignore[untyped-decorator]  # no types
    def train_step(positions: Any) -> tuple[Any, Any]:
        step = tf.cast(optimizer.iterations, tf.int32)
        # Eight seeds per step: one for each kind of augmentation, and one for the choice of outliers.
        seeds = tf.stack([step * 8, seed])
        images, digits = tf.gather(x_train, positions), tf.gather(y_train, positions)
        if exposure:
            chosen = tf.random.stateless_uniform((exposure.per_batch,), seeds + 7, 0, len(others), tf.int32)
            images = tf.concat([images, tf.gather(others, chosen)], axis=0)
        images, count = augment(images, how, seeds), tf.shape(positions)[0]
        answers = teacher.probabilities(images[:count]) if teacher else None
        with tf.GradientTape() as tape:
            outputs = network(images, training=True)
            probabilities = outputs[:count]
            loss = loss_of(digits, probabilities)
            if teacher:
                loss = teacher.loss(loss, answers, probabilities)
            if exposure:
                loss += exposure.weight * outlier_loss(outputs[count:])
            loss = tf.add_n([loss, *network.losses])
            scaled = optimizer.scale_loss(loss)
        gradients = tape.gradient(scaled, network.trainable_variables)
        if optimizer.use_ema:
            optimizer.ema_momentum.assign(warm_momentum(state.ema_momentum, tf.cast(step, tf.float32)))
        optimizer.apply(gradients, network.trainable_variables)
        return loss, tf.reduce_sum(tf.cast(tf.argmax(probabilities, axis=1) == digits, tf.int32))

    return train_step


def evaluate_function(recipe: Recipe, network: Any) -> Any:
    """Return a function of images uint8 [n, 784] and digits [n] -> (recipe's loss, accuracy)."""
    loss_of = create_loss(recipe)

    @tf.function(reduce_retracing=True, autograph=False)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def batch(images: Any, digits: Any) -> tuple[Any, Any]:
        probabilities = network(tf.cast(images, tf.float32), training=False)
        return loss_of(digits, probabilities), tf.reduce_sum(
            tf.cast(tf.argmax(probabilities, axis=1) == digits, tf.int32)
        )

    def evaluate(images: NDArray[np.uint8], digits: NDArray[np.int64]) -> tuple[float, float]:
        loss_sum, hits = 0.0, 0
        for start in range(0, len(digits), _EVALUATION_BATCH_IMAGES):
            part = slice(start, start + _EVALUATION_BATCH_IMAGES)
            loss, right = batch(tf.constant(images[part]), tf.constant(digits[part]))
            loss_sum += float(loss) * len(digits[part])
            hits += int(right)
        return loss_sum / len(digits), hits / len(digits)

    return evaluate
