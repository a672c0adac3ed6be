"""Quiet import of TensorFlow and Keras, and Keras objects from the tables of recipes."""

import difflib
import gc
import inspect
import os
import tempfile
from pathlib import Path
from typing import Any

from trainer.errors import RecipeError, first_line
from trainer.recipe import Config, Recipe

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _import_quietly() -> None:
    """Import TensorFlow with standard error redirected.

    Its C++ code logs CPU features to file descriptor 2 before it reads a log level. The output is shown only
    if the import fails.
    """
    kept = os.dup(2)
    gc.disable()  # the import makes a million objects that stay: collecting them takes a second
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401, PLC0415  # the import is what this function is for
            import tensorflow  # noqa: F401, ICN001, PLC0415
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            gc.freeze()
            gc.enable()
            os.dup2(kept, 2)
            os.close(kept)


_import_quietly()

import keras  # noqa: E402  # only now, see above
import tensorflow as tf  # noqa: E402

# Deterministic operations: the same seed on the same machine gives the same network.
tf.config.experimental.enable_op_determinism()

__all__ = [
    "accepted_arguments",
    "create_callback",
    "create_loss",
    "create_optimizer",
    "keras",
    "keras_object",
    "precision_policy",
    "tf",
]

_DIGITS = 10
_MONITORS = ("loss", "accuracy", "val_loss", "val_accuracy")

# Arguments of every layer, which Keras's classes accept as **kwargs.
_OF_EVERY_LAYER = frozenset({"name", "dtype", "trainable", "activity_regularizer"})
_FUNCTIONS = {
    "activation": keras.activations,
    "initializer": keras.initializers,
    "regularizer": keras.regularizers,
    "constraint": keras.constraints,
}
_NESTED = (
    "keras.initializers",
    "keras.regularizers",
    "keras.constraints",
    "keras.layers",
    "keras.optimizers.schedules",
    "keras.dtype_policies",
)


def keras_object(module: str, table: dict[str, Any], where: str) -> Any:
    """Return the Keras object that `class` and its arguments in a table describe.

    `module` has the class, for example `keras.layers`. Raises RecipeError with `where` (file and table),
    Keras's message and the known names.
    """
    classes = _classes(module)
    name = table.get("class")
    if name not in classes:
        raise RecipeError(
            f"{where}.class: {module} has no {name!r}; {_available(str(name), sorted(classes))}"
        )
    arguments = {key: value for key, value in table.items() if key != "class"}
    accepted = accepted_arguments(classes[str(name)])
    for key in arguments:
        if key not in accepted:
            raise RecipeError(
                f"{where}.{key}: unknown argument of {name}; available: {', '.join(sorted(accepted))}"
            )
    try:
        return classes[str(name)](**{key: _value(item, f"{where}.{key}") for key, item in arguments.items()})
    except RecipeError:
        raise
    except Exception as error:  # Keras's constructors raise various types
        raise RecipeError(_explain(error, arguments, where, str(name))) from error


def create_optimizer(recipe: Recipe, steps_per_epoch: int, epochs: int) -> Any:
    """Return the recipe's optimizer.

    A schedule's `*_steps` may be given as `*_epochs`; without `decay_steps`, the decay lasts for the rest of
    the training after the warm-up.
    """
    where = f"{recipe.source}: fit.optimizer"
    table: Config = (
        {"class": recipe.fit.optimizer}
        if isinstance(recipe.fit.optimizer, str)
        else dict(recipe.fit.optimizer)
    )
    rate = table.get("learning_rate")
    if isinstance(rate, dict):
        in_epochs = {key: value for key, value in rate.items() if key.endswith("_epochs")}
        rate = {key: value for key, value in rate.items() if key not in in_epochs}
        for key, value in in_epochs.items():
            if not isinstance(value, int | float) or value < 0:
                raise RecipeError(f"{where}.learning_rate.{key}: {value!r}, expected a number of epochs")
            rate[key.replace("_epochs", "_steps")] = round(value * steps_per_epoch)
        schedule = getattr(keras.optimizers.schedules, str(rate.get("class")), None)
        if schedule is not None and "decay_steps" in accepted_arguments(schedule):
            rate.setdefault("decay_steps", max(1, epochs * steps_per_epoch - rate.get("warmup_steps", 0)))
        table["learning_rate"] = keras_object("keras.optimizers.schedules", rate, f"{where}.learning_rate")
    optimizer = keras_object("keras.optimizers", table, where)
    if optimizer.use_ema:  # a variable, since the momentum grows with the steps
        optimizer.ema_momentum = keras.Variable(optimizer.ema_momentum, trainable=False, name="ema_momentum")
    return optimizer


def create_loss(recipe: Recipe) -> Any:
    """Return the recipe's loss: a function of (digits int64 [n], probabilities [n, 10])."""
    loss = recipe.fit.loss
    where = f"{recipe.source}: fit.loss"
    if isinstance(loss, dict):
        function = keras_object("keras.losses", loss, where)
    else:
        try:
            function = keras.losses.get(loss)
        except ValueError as error:
            names = ", ".join(
                name for name in sorted(vars(keras.losses)) if name.islower() and name[0] != "_"
            )
            raise RecipeError(f"{where}: {error}; available: {names}") from error
    sparse = "sparse" in str(loss["class"] if isinstance(loss, dict) else loss).lower()
    return lambda y, p: tf.reduce_mean(function(y if sparse else tf.one_hot(y, _DIGITS), p))


def create_callback(name: str, table: Config | None, where: str) -> Any | None:
    """Return the Keras callback of this name; None without a table. It monitors a metric of the epochs."""
    if table is None:
        return None
    monitor = table.get("monitor", "val_loss")
    if monitor not in _MONITORS:
        raise RecipeError(f"{where}.monitor: {monitor!r}, expected one of {', '.join(_MONITORS)}")
    mode = "max" if monitor.endswith("accuracy") else "min"
    return keras_object("keras.callbacks", {"class": name, "mode": mode} | table, where)


def accepted_arguments(cls: Any) -> frozenset[str]:
    """Return the argument names of a Keras class."""
    names: set[str] = set()
    for each in cls.__mro__:
        parameters = inspect.signature(each.__init__).parameters.values()
        named = {inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY}
        names |= {parameter.name for parameter in parameters if parameter.kind in named}
        if not any(parameter.kind is inspect.Parameter.VAR_KEYWORD for parameter in parameters):
            break
        if each is keras.layers.Layer:
            break
    return frozenset(names - {"self"}) | (
        _OF_EVERY_LAYER if issubclass(cls, keras.layers.Layer) else frozenset()
    )


def _classes(module: str) -> dict[str, Any]:
    holder: Any = keras
    for part in module.split(".")[1:]:
        holder = getattr(holder, part)
    return {name: item for name, item in vars(holder).items() if inspect.isclass(item)}


def _value(value: Any, where: str) -> Any:
    """Return an argument with its tables replaced by the Keras objects that they describe."""
    if isinstance(value, list):
        return [_value(item, where) for item in value]
    if not isinstance(value, dict):
        return value
    if value.get("class_name") == "__tuple__":  # Keras 3's JSON form of a tuple
        return tuple(_value(item, where) for item in value["items"])
    if "class" not in value:
        return {key: _value(item, where) for key, item in value.items()}
    owner = next((module for module in _NESTED if value["class"] in _classes(module)), _NESTED[0])
    return keras_object(owner, value, where)


def _explain(error: Exception, arguments: dict[str, Any], where: str, name: str) -> str:
    """Return Keras's message, preceded by the key that it mentions, with the key's known names."""
    reason = first_line(error)
    keys = [key for key in arguments if key in reason or f": {arguments[key]}" in reason]
    place = f"{where}.{keys[0]}" if len(keys) == 1 else f"{where} ({name})"
    kind = keys[0].rpartition("_")[2] if len(keys) == 1 else ""
    if kind not in _FUNCTIONS:
        return f"{place}: {reason}"
    known = sorted(each for each, item in vars(_FUNCTIONS[kind]).items() if callable(item) and each[0] != "_")
    return f"{place}: {reason}; {_available(str(arguments[keys[0]]), known)}"


def _available(name: str, known: list[str]) -> str:
    """Return the known names closest to `name`, or all of them."""
    close = difflib.get_close_matches(name, known, 5)
    return f"did you mean {' or '.join(close)}?" if close else f"available: {', '.join(known)}"


def precision_policy(wanted: str) -> str:
    """Return the Keras dtype policy; auto is bfloat16 where the CPU multiplies it natively."""
    if wanted == "auto":
        wanted = "bfloat16" if _multiplies_bfloat16() else "float32"
    return "mixed_bfloat16" if wanted == "bfloat16" else "float32"


def _multiplies_bfloat16() -> bool:
    # Without AVX-512 BF16 or AMX, bfloat16 is emulated and slower; with them an epoch takes half the time.
    try:
        flags = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="ignore")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags
