"""Read the layers of a Keras architecture file, as `model.to_json()` of Keras 2 or 3 writes it."""

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any, get_args

from trainer.errors import RecipeError
from trainer.layers import ActivationLayer, Layer
from trainer.schema import read

_CLASSES: dict[str, type[Layer]] = {
    "Activation" if layer is ActivationLayer else layer.__name__: layer for layer in get_args(Layer)
}

# What Keras writes about a layer and a recipe does not: harmless at these values, refused at others.
_MUST_BE: dict[str, tuple[Any, ...]] = {
    "use_bias": (True,),
    "groups": (1,),
    "data_format": ("channels_last", None),
    "axis": (-1, 3, [3], [-1]),
    "threshold": (0, None),
    "keepdims": (False,),
    "trainable": (True,),
    "output_padding": (None,),
    "noise_shape": (None,),
}
_DEFAULT_INITIALIZERS = {"GlorotUniform", "VarianceScaling", "Zeros", "Ones"}
_OLD_NAMES = {"alpha": "negative_slope"}


def read_architecture(path: Path) -> tuple[Layer, ...]:
    """Return the layers of a Keras sequential network. Raises RecipeError naming the layer and the key."""
    try:
        table = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise RecipeError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise RecipeError(f"{path}: not JSON: {error}") from error
    if not isinstance(table, Mapping) or table.get("class_name") != "Sequential":
        what = table.get("class_name") if isinstance(table, Mapping) else type(table).__name__
        raise RecipeError(f"{path}: {what!r}, expected the architecture of a Keras Sequential network")
    config = table.get("config")
    # Keras before 2.3 wrote the list of layers itself as the configuration.
    entries = config.get("layers") if isinstance(config, Mapping) else config
    if not isinstance(entries, list):
        raise RecipeError(f"{path}: config.layers: {entries!r}, expected a list of layers")
    return tuple(
        _layer(entry, f"{path}: config.layers[{i}]")
        for i, entry in enumerate(entries)
        if not (isinstance(entry, Mapping) and entry.get("class_name") == "InputLayer")
    )


def _layer(entry: Any, where: str) -> Layer:
    name = entry.get("class_name") if isinstance(entry, Mapping) else entry
    config = entry.get("config") if isinstance(entry, Mapping) else None
    if name not in _CLASSES or not isinstance(config, Mapping):
        raise RecipeError(f"{where}: {name!r}, expected a layer of {', '.join(_CLASSES)}")
    kind = _CLASSES[name]
    known = {field.name for field in fields(kind)} - {"normalize"}
    table: dict[str, Any] = {}
    for key, value in config.items():
        renamed = key if key in known else _OLD_NAMES.get(key, key)
        if renamed in known:
            if value is not None:
                table[renamed] = value
        else:
            _refuse_unless_harmless(key, value, f"{where} ({name}).{key}")
    return read(kind, table, f"{where} ({name})")


def _refuse_unless_harmless(key: str, value: Any, where: str) -> None:
    allowed = _MUST_BE.get(key)
    if allowed is not None and value not in allowed:
        raise RecipeError(f"{where}: {value!r}, expected {' or '.join(map(repr, allowed))}")
    if key.endswith(("_regularizer", "_constraint")) and value is not None:
        raise RecipeError(f"{where}: {value!r}, expected none: recipes have no regularizers and constraints")
    if key.endswith("_initializer") and isinstance(value, Mapping):
        name = value.get("class_name")
        if name not in _DEFAULT_INITIALIZERS:
            raise RecipeError(f"{where}: {name!r}, expected Keras's default initializer of this layer")
