"""`labels.json`: names that point at versions, and how much of the traffic they get."""

import json
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Label:
    """What a label points at."""

    version: int
    # Of the requests that name neither version nor label, 0-1. A version that has a share, be it 0, is on
    # trial: it gets that and no more.
    share: float | None = None


def parse_labels(content: bytes) -> dict[str, Label]:
    """Read `{"stable": 3, "canary": {"version": 4, "share": 0.05}}`.

    Raises:
        ValueError: it is anything else, with the label that is wrong; a file is taken whole or not at all.

    """
    try:
        entries = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"labels.json is not JSON: {error}") from None
    if not isinstance(entries, dict):
        raise ValueError(f"labels.json is {_short(entries)}, expected an object of labels")  # noqa: TRY004 - one error for one bad file
    labels = {name: _label(name, entry) for name, entry in entries.items()}
    if (total := sum(label.share or 0 for label in labels.values())) > 1:
        raise ValueError(f"labels.json has shares that add up to {total:g}, expected at most 1")
    return labels


def _label(name: str, entry: Any) -> Label:
    if not name or name.isdigit():
        raise ValueError(f"labels.json has a label {name!r}, expected a name that is not a number")
    content = entry if isinstance(entry, dict) else {"version": entry}
    version, share = content.get("version"), content.get("share")
    known = content.keys() <= {"version", "share"}
    if not known or isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise ValueError(
            f"label {name!r} is {_short(entry)} in labels.json, "
            'expected a version, or {"version": 4, "share": 0.05}'
        )
    if share is None:
        return Label(version)
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise ValueError(f"label {name!r} has a share of {_short(share)} in labels.json, expected 0 to 1")
    return Label(version, float(share))


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) < 40 else f"{text[:40]}..."  # noqa: PLR2004 - what still reads well in a line
