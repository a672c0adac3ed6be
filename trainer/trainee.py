"""The network that learns and everything one step of learning changes."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Any

from trainer.augment import augment
from trainer.backend import keras, tf
from trainer.data.dataset import Split
from trainer.network import training_network
from trainer.precision import precision_policy
from trainer.recipe import Recipe

Learn = Callable[[Any, Any, Any], tuple[Any, Any]]
"""From positions int32 [b], step and learning rate to (mean loss, images the network got right)."""

_STATISTICS_AVERAGE = 0.99


@dataclass(frozen=True)
class Trainee:
    """A network that learns, the average of its weights over the last steps, and the optimizer's memory.

    `best` is the averaged network as it was after its best epoch, where the recipe wants that one back.
    """

    network: Any
    averaged: Any
    optimizer: Any
    best: Any | None

    @property
    def variables(self) -> list[Any]:
        """All state, in an order that does not change."""
        best = [] if self.best is None else self.best.variables
        return [*self.network.variables, *self.averaged.variables, *self.optimizer.variables, *best]


def new_trainee(recipe: Recipe, seed: int) -> Trainee:
    """Return the recipe's network with random weights, the same ones for the same seed."""
    keras.utils.set_random_seed(seed)
    network = training_network(recipe, precision_policy(recipe.fit.precision))
    averaged = training_network(recipe, "float32")
    averaged.set_weights(network.get_weights())
    chosen = recipe.fit.optimizer
    arguments = {field.name: getattr(chosen, field.name) for field in fields(chosen)}
    optimizer = getattr(keras.optimizers, type(chosen).__name__)(recipe.fit.learning_rate, **arguments)
    optimizer.build(network.trainable_variables)
    stopping = recipe.fit.early_stopping
    best = training_network(recipe, "float32") if stopping and stopping.restore_best_weights else None
    return Trainee(network, averaged, optimizer, best)


def step_function(recipe: Recipe, trainee: Trainee, split: Split, seed: int) -> Learn:
    """Return a compiled function of (positions int32 [b], step, learning rate) -> (loss, hits)."""
    network, optimizer = trainee.network, trainee.optimizer
    x_train, y_train = tf.constant(split.x_train), tf.constant(split.y_train)
    smoothing = recipe.fit.label_smoothing
    loss_of = keras.losses.get(recipe.fit.loss)
    signature = [tf.TensorSpec((None,), tf.int32), tf.TensorSpec((), tf.int32), tf.TensorSpec((), tf.float32)]

    @tf.function(input_signature=signature)  # type: ignore[untyped-decorator]  # tensorflow ships no types
    def step(positions: Any, number: Any, rate: Any) -> tuple[Any, Any]:
        # Eight seeds a step: each kind of variation draws from its own.
        images = augment(tf.gather(x_train, positions), recipe.augment, tf.stack([number * 8, seed]))
        digits = tf.gather(y_train, positions)
        wanted = tf.one_hot(digits, 10) * (1 - smoothing) + smoothing / 10
        with tf.GradientTape() as tape:
            probabilities = network(images, training=True)
            loss = tf.reduce_mean(loss_of(wanted, probabilities))
        gradients = tape.gradient(loss, network.trainable_variables)
        optimizer.learning_rate.assign(rate)
        optimizer.apply_gradients(zip(gradients, network.trainable_variables, strict=True))
        _average(trainee, recipe.fit.weight_average, tf.cast(number, tf.float32))
        return loss, tf.reduce_sum(tf.cast(tf.argmax(probabilities, axis=1) == digits, tf.int32))

    return step  # type: ignore[no-any-return]  # tensorflow ships no types


def _average(trainee: Trainee, weight_average: float, step: Any) -> None:
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
