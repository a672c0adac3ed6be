"""Networks of a recipe: one to train, one to serve.

Training adds normalization after convolutions with `normalize = true`; `fold` merges it into their kernels,
so the served network has only the recipe's layers.
"""

from typing import Any

import numpy as np

from trainer.backend import accepted_arguments, keras, keras_object, tf
from trainer.data.dataset import DIGITS, PIXELS
from trainer.errors import RecipeError, first_line
from trainer.recipe import Config, Recipe

EPSILON = 1e-3
"""Added to the variance before its root is taken, as Keras does."""

_MOMENTUM = 0.99
_SUM_TOLERANCE = 1e-2
_NORMALIZE = "normalize"
_NEVER_FALLING = frozenset(
    {
        None,
        "linear",
        "relu",
        "elu",
        "selu",
        "tanh",
        "sigmoid",
        "hard_sigmoid",
        "softplus",
        "softsign",
        "exponential",
    }
)
"""Activations that keep the order of their inputs, so that they commute with max pooling."""

# Keys of Keras 2 that Keras 3 does not accept: dropped with these values, refused with others.
_KERAS_2 = {"groups": (1,), "sparse": (False,), "ragged": (False,), "fused": (None, True), "renorm": (False,)}
_SHAPES = ("batch_shape", "batch_input_shape", "shape", "input_shape")


@keras.saving.register_keras_serializable("trainer")
class FoldableNormalization(keras.layers.Layer):  # type: ignore[misc]  # keras ships no types
    """Batch normalization with a learned offset and no learned scale.

    Without a scale the layer multiplies by positive numbers, so it commutes with max pooling: it runs after
    the pool, on a quarter of the values, and still folds into the convolution before it.
    """

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Create the offset and the moving statistics, each float32 [channels], and a batch counter."""
        own = {"shape": (input_shape[-1],), "dtype": "float32", "autocast": False}
        self.offset = self.add_weight(name="offset", initializer="zeros", **own)
        self.mean = self.add_weight(name="mean", initializer="zeros", trainable=False, **own)
        self.variance = self.add_weight(name="variance", initializer="ones", trainable=False, **own)
        own["shape"] = ()
        self.batches = self.add_weight(name="batches", initializer="zeros", trainable=False, **own)

    def call(self, x: Any, training: bool = False) -> Any:
        """Return x normalized, of its shape and dtype."""
        # The fused operation is 2.5 times as fast on a CPU as Keras's layer.
        empty = tf.zeros((0,))
        result = tf.raw_ops.FusedBatchNormV3(
            x=x,
            scale=tf.ones_like(self.offset.value),
            offset=self.offset.value,
            mean=empty if training else self.mean.value,
            variance=empty if training else self.variance.value,
            epsilon=EPSILON,
            is_training=training,
        )
        if training:
            keep = warm_momentum(_MOMENTUM, self.batches.value)
            self.mean.assign(keep * self.mean + (1 - keep) * result.batch_mean)
            self.variance.assign(keep * self.variance + (1 - keep) * result.batch_variance)
            self.batches.assign_add(1.0)
        return result.y


def warm_momentum(momentum: float, step: Any) -> Any:
    """Return the momentum of a moving average at a step, from 0: it rises to `momentum`.

    A constant momentum would keep the random initial values for long.
    """
    return tf.minimum(momentum, step / (9.0 + step))


def served_network(recipe: Recipe) -> Any:
    """Return the untrained Keras network to export, with only the recipe's layers.

    It takes float32 [n, 784]. Raises RecipeError with file, table and key if Keras refuses a layer, or the
    outputs are not ten probabilities.
    """
    network = _sequential(
        recipe, [(where, _make(table, where, "float32")) for where, table in _tables(recipe)]
    )
    answers = network(np.random.default_rng(0).integers(0, 256, (2, PIXELS)).astype(np.float32)).numpy()
    where = f"{recipe.source}: layers[{len(recipe.layers) - 1}]"
    if answers.shape != (2, DIGITS):
        raise RecipeError(
            f"{where}: answers {list(answers.shape[1:])} for an image, expected 10 probabilities"
        )
    if (answers < 0).any() or (np.abs(answers.sum(axis=1) - 1) > _SUM_TOLERANCE).any():
        raise RecipeError(
            f"{where}: answers sum to {answers[0].sum():.3g}, "
            "expected probabilities: a last layer with softmax"
        )
    if recipe.parameters not in {None, parameter_count(network)}:
        raise RecipeError(
            f"{recipe.source}: parameters: {recipe.parameters:,}, the network has "
            f"{parameter_count(network):,}"
        )
    return network


def training_network(recipe: Recipe, policy: str = "float32") -> Any:
    """Return the network to fit, with normalization layers and float32 weights.

    `policy` is a Keras dtype policy; with `mixed_bfloat16` all but the last layer compute in bfloat16.
    Normalization is moved after a max pool, where there are a quarter of the values.
    """
    layers: list[tuple[str, Any]] = []
    pending: list[tuple[str, Any]] = []
    tables = _tables(recipe)
    for where, table in tables:
        dtype = "float32" if table is tables[-1][1] else policy
        if table["class"] != "MaxPooling2D":
            layers, pending = layers + pending, []
        if not table.get(_NORMALIZE):
            layers.append((where, _make(table, where, dtype)))
            continue
        name, activation = table["name"], table.get("activation")
        layers.append((where, _make(table | {"activation": None, "use_bias": False}, where, dtype)))
        pending = [
            (where, FoldableNormalization(name=f"{name}_norm", dtype=dtype)),
            (where, keras.layers.Activation(activation or "linear", name=f"{name}_activation", dtype=dtype)),
        ]
        if not (activation is None or isinstance(activation, str)) or activation not in _NEVER_FALLING:
            layers, pending = layers + pending, []
    return _sequential(recipe, layers + pending)


def fold(recipe: Recipe, trained: Any) -> Any:
    """Return the served network, with the normalization of `trained` folded into the kernels."""
    served = served_network(recipe)
    for _, table in _tables(recipe):
        source = trained.get_layer(table["name"])
        weights = source.get_weights()
        if table.get(_NORMALIZE):
            norm = trained.get_layer(f"{table['name']}_norm")
            shrink = 1.0 / np.sqrt(norm.variance.numpy().astype(np.float64) + EPSILON)  # (channels,)
            kernel = weights[0].astype(np.float64) * shrink  # (h, w, in, channels)
            bias = norm.offset.numpy() - norm.mean.numpy() * shrink
            weights = [kernel.astype(np.float32), bias.astype(np.float32)]
        served.get_layer(table["name"]).set_weights(weights)
    return served


def parameter_count(network: Any) -> int:
    """Return the number of trainable parameters of a network."""
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def _sequential(recipe: Recipe, layers: list[tuple[str, Any]]) -> Any:
    network = keras.Sequential(
        [keras.Input((PIXELS,), dtype="float32")], name=recipe.name.replace("-", "_") or None
    )
    for where, layer in layers:
        try:
            network.add(layer)
        except Exception as error:  # Keras's layers raise various types
            raise RecipeError(f"{where} ({type(layer).__name__}): {first_line(error)}") from error
    return network


def _make(table: Config, where: str, dtype: str) -> Any:
    """Return the Keras layer of a table, with this dtype policy unless the table sets one."""
    arguments = {key: value for key, value in table.items() if key != _NORMALIZE}
    return keras_object("keras.layers", {"dtype": dtype} | arguments, where)


def _tables(recipe: Recipe) -> list[tuple[str, Config]]:
    """Return each layer's name in messages and its table, with a layer name and without keys of Keras 2.

    An input shape other than [784] is replaced by a Reshape layer.
    """
    tables: list[tuple[str, Config]] = []
    for index, layer in enumerate(recipe.layers):
        where = f"{recipe.source}: layers[{index}]"
        shape = next((layer[key] for key in _SHAPES if layer.get(key)), None) if index == 0 else None
        if shape is not None:
            sizes = (
                shape[1:]
                if shape[0] is None or layer.get("batch_shape") or layer.get("batch_input_shape")
                else shape
            )
            if int(np.prod(sizes or [0])) != PIXELS:
                raise RecipeError(f"{where}: input shape {sizes}, expected 784 numbers (28x28)")
            if sizes != [PIXELS]:
                tables.append((where, {"class": "Reshape", "target_shape": sizes, "name": "input_shape"}))
        elif index == 0 and "Conv2D" in layer["class"]:
            tables.append((where, {"class": "Reshape", "target_shape": [28, 28, 1], "name": "input_shape"}))
        if layer["class"] != "InputLayer":
            cleaned = _keras_3(layer, where, first=index == 0)
            if cleaned.get("name") in {None, *(table["name"] for _, table in tables)}:
                cleaned["name"] = f"{layer['class'].lower()}_{index}"
            tables.append((where, cleaned))
    return tables


def _keras_3(layer: Config, where: str, *, first: bool) -> Config:
    """Return a layer's table without keys of Keras 2, renamed if Keras 3 has another name."""
    name = layer["class"]
    accepted = accepted_arguments(getattr(keras.layers, name)) if hasattr(keras.layers, name) else frozenset()
    table: Config = {"class": name}
    for key, value in layer.items():
        known = key in accepted or key == "class"
        if key == "dtype" and _is_float32(value):
            continue  # the recipe's precision decides
        if key == "alpha" and not known and "negative_slope" in accepted:
            table["negative_slope"] = value
        elif key == "axis" and isinstance(value, list) and len(value) == 1 and name == "BatchNormalization":
            table["axis"] = value[0]
        elif key == _NORMALIZE and value is not False:
            if name != "Conv2D" or value is not True or layer.get("use_bias") is False:
                raise RecipeError(
                    f"{where}.{key}: {value!r} for {name}, expected true for a Conv2D with a bias"
                )
            table[key] = value
        elif known or not _left_over(key, value, name, first=first):
            table[key] = value
    return table


def _left_over(key: str, value: Any, name: str, *, first: bool) -> bool:
    """Tell whether a key written by Keras 2 has no effect on the layer."""
    if key == _NORMALIZE or (key in _SHAPES and first):
        return True
    # Keras 2 wrote kernel arguments of the base class for these layers, which have no such kernel.
    if name in {"SeparableConv2D", "DepthwiseConv2D"} and key.startswith("kernel_"):
        return True
    return value is None or value in _KERAS_2.get(key, ())


def _is_float32(value: Any) -> bool:
    return value == "float32" or (isinstance(value, dict) and value.get("name") == "float32")
