"""Read TOML tables into frozen dataclasses, refusing whatever the dataclasses do not declare."""

import dataclasses
import types
from collections.abc import Mapping
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from trainer.errors import RecipeError

T = TypeVar("T")


@dataclasses.dataclass(frozen=True)
class Range:
    """What numbers a field may hold, both ends included; `Annotated[int, Range(low=1)]`."""

    low: float = float("-inf")
    high: float = float("inf")


Count = Annotated[int, Range(low=1)]
Share = Annotated[float, Range(0, 1)]
NotNegative = Annotated[float, Range(low=0)]
Size = tuple[Count, Count]
"""Height and width; one number in TOML stands for both."""


def read(cls: type[T], table: object, where: str) -> T:
    """Return `cls` filled from a table; `where` names the table in error messages.

    A field whose type is a union of dataclasses takes a table whose `kind` names one of them by its class
    attribute `kind`. Raises RecipeError for an unknown key, a missing key, a wrong type or a number out of
    range.
    """
    if not isinstance(table, Mapping):
        raise RecipeError(f"{where}: {table!r}, expected a table")
    fields = {field.name: field for field in dataclasses.fields(cls)}  # type: ignore[arg-type]  # any dataclass
    hints = get_type_hints(cls, include_extras=True)
    for key in table:
        if key not in fields:
            allowed = ", ".join(fields) or "no keys"
            raise RecipeError(f"{where}.{key}: unknown key, allowed here: {allowed}")
    values: dict[str, Any] = {}
    for name, field in fields.items():
        if name in table:
            values[name] = _value(hints[name], table[name], f"{where}.{name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise RecipeError(f"{where}.{name}: missing, expected {_expected(hints[name])}")
    return cls(**values)


def _value(hint: Any, value: Any, where: str) -> Any:
    origin = get_origin(hint)
    if origin is Annotated:
        plain, limits = get_args(hint)
        value = _value(plain, value, where)
        if not limits.low <= value <= limits.high:
            raise RecipeError(f"{where}: {value}, expected {_expected(hint)}")
        return value
    if origin is types.UnionType:
        arms = [arm for arm in get_args(hint) if arm is not types.NoneType]
        return _value(arms[0], value, where) if len(arms) == 1 else _of_kind(arms, value, where)
    if origin is tuple:
        return _tuple(hint, value, where)
    if dataclasses.is_dataclass(hint) and isinstance(hint, type):
        return read(hint, value, where)
    if hint is float and type(value) is int:
        value = float(value)
    if not (value in get_args(hint) if origin is Literal else type(value) is hint):
        raise RecipeError(f"{where}: {value!r}, expected {_expected(hint)}")
    return value


def _of_kind(arms: list[Any], value: Any, where: str) -> Any:
    """Read the dataclass whose `kind` the table names."""
    if not isinstance(value, Mapping):
        raise RecipeError(f"{where}: {value!r}, expected a table")
    kinds = {arm.kind: arm for arm in arms}
    kind = value.get("kind")
    if kind not in kinds:
        raise RecipeError(f"{where}.kind: {kind!r}, expected one of {', '.join(kinds)}")
    return read(kinds[kind], {key: item for key, item in value.items() if key != "kind"}, where)


def _tuple(hint: Any, value: Any, where: str) -> tuple[Any, ...]:
    arms = get_args(hint)
    endless = arms[-1] is Ellipsis
    if not isinstance(value, list):
        if endless:
            raise RecipeError(f"{where}: {value!r}, expected {_expected(hint)}")
        return (_value(arms[0], value, where),) * len(arms)
    if endless:
        arms = (arms[0],) * len(value)
    if len(arms) != len(value):
        raise RecipeError(f"{where}: {value!r}, expected {_expected(hint)}")
    return tuple(
        _value(arm, item, f"{where}[{i}]") for i, (arm, item) in enumerate(zip(arms, value, strict=True))
    )


def _expected(hint: Any) -> str:
    origin, arms = get_origin(hint), get_args(hint)
    if origin is Annotated:
        low, high = arms[1].low, arms[1].high
        ends = [f"at least {low:g}"] * (low > float("-inf")) + [f"at most {high:g}"] * (high < float("inf"))
        return f"{_expected(arms[0])}, {' and '.join(ends)}"
    if origin is Literal:
        return "one of " + ", ".join(map(str, arms))
    if origin is tuple:
        if arms[-1] is Ellipsis:
            return "a list"
        return f"{_expected(arms[0])}, or a list of {len(arms)}"
    names = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}
    return names.get(hint, "a table")


def to_toml(value: Any) -> str:
    """Return a dataclass as the TOML that `read` makes it from again."""
    return "\n".join(_table(value, ())) + "\n"


def _table(value: Any, path: tuple[str, ...]) -> list[str]:
    """Return the lines of one table: its plain keys first, then the tables below it."""
    items = [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value)]
    lines = [f'kind = "{value.kind}"'] if hasattr(value, "kind") else []
    lines += [
        f"{name} = {_literal(item)}" for name, item in items if item is not None and not _is_table(item)
    ]
    for name, item in items:
        below = (*path, name)
        if dataclasses.is_dataclass(item):
            lines += ["", f"[{'.'.join(below)}]", *_table(item, below)]
        elif _is_table(item):
            for entry in item:
                lines += ["", f"[[{'.'.join(below)}]]", *_table(entry, below)]
    return lines


def _is_table(item: Any) -> bool:
    first = item[0] if isinstance(item, tuple) and item else item
    return dataclasses.is_dataclass(first)


def _literal(item: Any) -> str:
    if isinstance(item, bool):
        return "true" if item else "false"
    if isinstance(item, str):
        escaped = item.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    if isinstance(item, tuple):
        return f"[{', '.join(map(_literal, item))}]"
    return repr(item)
