"""Versions and labels of a model repository."""

import fcntl
import json
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from trainer.errors import TrainerError
from trainer.run import write_durably

_LOCK = ".lock"
_LAST_VERSION = ".last-version"
_LABEL_HISTORY = ".label-history.jsonl"


@contextmanager
def model_lock(folder: Path) -> Iterator[None]:
    """Hold a model's lock; the end of the process releases it."""
    descriptor = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def versions(folder: Path) -> list[int]:
    """Return the existing versions of a model, in ascending order."""
    if not folder.is_dir():
        return []
    return sorted(
        int(entry.name)
        for entry in folder.iterdir()
        if re.fullmatch(r"[1-9][0-9]*", entry.name) and entry.is_dir()
    )


def take_version(folder: Path) -> int:
    """Return an unused version number; the caller holds the lock.

    It is recorded before use, so a publisher that dies leaves a gap rather than a reused number.
    """
    try:
        last = int((folder / _LAST_VERSION).read_text(encoding="ascii"))
    except (OSError, ValueError):
        last = 0
    version = max([last, *versions(folder), *labels(folder).values()]) + 1
    write_durably(folder / _LAST_VERSION, f"{version}\n".encode())
    return version


def version_manifest(folder: Path, version: int) -> dict[str, Any]:
    """Return a version's manifest. Raises TrainerError."""
    path = folder / str(version) / "manifest.json"
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        available = ", ".join(map(str, versions(folder))) or "none"
        raise TrainerError(f"{path}: {error.strerror}; available versions: {available}") from error
    except (ValueError, TypeError) as error:
        raise TrainerError(f"{path}: damaged manifest: {error}") from error


def labels(folder: Path) -> dict[str, int]:
    """Return the version of each label of a model. Raises TrainerError."""
    path = folder / "labels.json"
    try:
        return {
            str(label): int(entry["version"] if isinstance(entry, dict) else entry)
            for label, entry in _entries(folder).items()
        }
    except (KeyError, ValueError, TypeError) as error:
        raise TrainerError(
            f"{path}: damaged, expected a version, or a version with share or shadow, "
            f"for each label: {error!r}"
        ) from error


def existing_model(repository: Path, model: str) -> Path:
    """Return the folder of an existing model. Raises TrainerError."""
    folder = repository / model
    if not folder.is_dir():
        names = sorted(entry.name for entry in repository.glob("[!.]*") if entry.is_dir())
        raise TrainerError(f"{folder}: no such model; available: {', '.join(names) or 'none'}")
    return folder


def point(
    folder: Path, label: str, version: int, share: float | None = None, shadow: float | None = None
) -> int | None:
    """Move a label to an existing version; return its previous version. Takes the lock.

    `share` (0-1) is the share of requests without version and label that it then gets; `shadow` is the share
    of answered images that it also runs for comparison.
    """
    version_manifest(folder, version)
    with model_lock(folder):
        return _point(folder, label, version, {"share": share, "shadow": shadow})


def end_shadow(folder: Path, version: int) -> list[str]:
    """Remove the shadow of labels that point at a version; return these labels. Takes the lock."""
    with model_lock(folder):
        entries = _entries(folder)
        ended = [
            label
            for label, entry in entries.items()
            if isinstance(entry, dict) and "shadow" in entry and entry["version"] == version
        ]
        for label in ended:
            left = {key: value for key, value in entries[label].items() if key != "shadow"}
            entries[label] = left if len(left) > 1 else version
        if ended:
            _write_labels(folder, entries)
        return ended


def point_back(folder: Path, label: str) -> tuple[int, int]:
    """Move a label back to its previous version; return the old and the new version.

    Raises TrainerError if there is no previous version, or it does not exist any more.
    """
    with model_lock(folder):
        now = labels(folder).get(label)
        if now is None:
            raise TrainerError(f"{folder}: no label {label}; {_known(folder)}")
        moves = [move for move in _moves(folder) if move["label"] == label]
        earlier: list[int] = []
        for move in moves:  # the moves are a stack: moving back pops the last one
            if earlier and move.get("back"):
                earlier.pop()
            elif move["from"] is not None:
                earlier.append(move["from"])
        if not earlier:
            raise TrainerError(f"{folder}: label {label} never pointed at another version than {now}")
        version_manifest(folder, earlier[-1])
        _point(folder, label, earlier[-1], back=True)
        return now, earlier[-1]


def _point(
    folder: Path,
    label: str,
    version: int,
    options: dict[str, float | None] | None = None,
    *,
    back: bool = False,
) -> int | None:
    given = {key: value for key, value in (options or {}).items() if value is not None}
    before = labels(folder).get(label)
    if before != version:
        move = {"label": label, "from": before, "to": version, **({"back": True} if back else {})}
        lines = [json.dumps(entry) for entry in (*_moves(folder), move)]
        write_durably(folder / _LABEL_HISTORY, ("\n".join(lines) + "\n").encode())
    elif not given:
        return before
    _write_labels(folder, _entries(folder) | {label: {"version": version, **given} if given else version})
    return before


def _write_labels(folder: Path, entries: dict[str, Any]) -> None:
    text = json.dumps(entries, indent=2, sort_keys=True) + "\n"
    write_durably(folder / "labels.json", text.encode())


def _entries(folder: Path) -> dict[str, Any]:
    """Return labels.json: for each label a version, or `version`, `share` and `shadow`."""
    path = folder / "labels.json"
    if not path.exists():
        return {}
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (ValueError, TypeError) as error:
        raise TrainerError(f"{path}: damaged, expected an object of labels: {error}") from error


def _moves(folder: Path) -> list[dict[str, Any]]:
    path = folder / _LABEL_HISTORY
    if not path.exists():
        return []
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def _known(folder: Path) -> str:
    return "available: " + (", ".join(sorted(labels(folder))) or "none")
