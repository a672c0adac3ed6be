"""The model repository on disk: which versions of which models there are, and in what state."""

import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from server.labels import Label, parse_labels

LABELS = "labels.json"
# Far more than a label file can need; what is larger is something else.
MAX_LABELS_BYTES = 64 * 1024
# What fits into the wire's int64.
MAX_DIGITS = 18

# The files below a version's folder with their sizes and times: it changes when they do.
Fingerprint = tuple[tuple[str, int, int, int], ...]


class RepositoryError(Exception):
    """The repository cannot be read; the message says why."""


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model on disk."""

    versions: dict[int, Fingerprint] = field(default_factory=dict)  # newest first
    labels: dict[str, Label] | None = field(default_factory=dict)  # None: labels.json cannot be used
    problems: tuple[str, ...] = ()
    readable: bool = True  # if not, nothing is known of it


def scan(repository: Path) -> dict[str, ModelFolder]:
    """Look at everything in `repository`, and read nothing but its label files.

    A model is a folder that holds folders named by positive integers; unfinished work, in folders that
    start with a dot, is ignored.

    Raises:
        RepositoryError: it cannot be read, or holds no model at all: a volume that is not mounted (yet, or
            any more) is an empty folder.

    """
    try:
        root = repository.resolve(strict=True)
        folders = _folders(repository)
    except OSError as error:
        raise RepositoryError(f"model repository {repository} cannot be read: {error.strerror}") from None
    except RuntimeError:  # of resolve, in Python 3.11 and 3.12
        raise RepositoryError(
            f"model repository {repository} cannot be read: its links form a circle"
        ) from None
    found = {folder.name: _model(folder, root) for folder in folders}
    models = {name: model for name, model in found.items() if model.versions or model.problems}
    if not models:
        raise RepositoryError(f"model repository {repository} has no models")
    return models


def _model(folder: Path, root: Path) -> ModelFolder:
    try:
        entries = _folders(folder)
    except OSError as error:
        return ModelFolder(problems=(f"its folder cannot be read: {error.strerror}",), readable=False)
    versions: dict[int, Fingerprint] = {}
    problems = []
    for entry in entries:
        if _is_version(entry.name):
            versions[int(entry.name)] = fingerprint(entry)
        elif os.path.exists(entry / "model.onnx"):  # noqa: PTH110 - Path's raises where it may not look
            problems.append(f"folder {entry.name!r} is not named by a positive integer")
    labels: dict[str, Label] | None = None
    try:
        labels = _labels(folder / LABELS, root)
    except (OSError, RuntimeError, ValueError) as error:
        reason = f"labels.json cannot be read: {error.strerror}" if isinstance(error, OSError) else str(error)
        problems.append(reason)
    return ModelFolder(dict(sorted(versions.items(), reverse=True)), labels, tuple(problems))


def fingerprint(folder: Path) -> Fingerprint:
    """Return what changes when a file below `folder` does, without opening any."""
    return tuple(sorted(_stats(folder)))


def _stats(folder: Path) -> Iterator[tuple[str, int, int, int]]:
    for parent, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(parent, name)  # noqa: PTH118 - a thousand files every second or two
            try:
                found = os.stat(path)  # noqa: PTH116 - likewise
            except OSError as error:
                yield path, -1, error.errno or 0, 0
            else:
                yield path, found.st_size, found.st_mtime_ns, found.st_ctime_ns


def _labels(path: Path, root: Path) -> dict[str, Label]:
    try:
        if not path.resolve().is_relative_to(root):
            raise ValueError("labels.json is a link that leads out of the repository")
        if not stat.S_ISREG((found := path.stat()).st_mode):
            raise ValueError("labels.json is no file")
        if (size := found.st_size) > MAX_LABELS_BYTES:
            raise ValueError(f"labels.json has {size} bytes, expected at most {MAX_LABELS_BYTES}")
        return parse_labels(path.read_bytes())
    except FileNotFoundError:
        return {}


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir())


def _is_version(name: str) -> bool:
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= MAX_DIGITS
