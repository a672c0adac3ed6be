"""The model repository on disk: the versions and labels of each model."""

import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import msgspec
from msgspec import Meta, Struct

from server.errors import RefusedError
from server.model.manifest import GRAPH, MANIFEST, decode, read_file, shown

LABELS = "labels.json"
# Far larger than any label file.
MAX_LABELS_BYTES = 64 * 1024
# The digits of an int64 on the wire.
MAX_DIGITS = 18
LAYOUT = (
    f"expected folders MODEL/VERSION with {MANIFEST} and {GRAPH}, "
    "as `digit-trainer publish` writes them, and `digit-trainer import` from any ONNX file"
)

Version = Annotated[int, Meta(ge=1, lt=10**MAX_DIGITS)]
# The files below a version's folder with their sizes and times; it changes when a file does.
Fingerprint = tuple[tuple[str, int, int, int], ...]


class RepositoryError(Exception):
    """The repository cannot be read; the message says why."""


class Label(Struct, frozen=True, forbid_unknown_fields=True):
    """A label, in labels.json a version number or an object with these keys."""

    version: Version
    # Share 0-1 of the requests that name neither version nor label. A version with a share, even 0, is on
    # trial: it gets only that share.
    share: Annotated[float, Meta(ge=0, le=1)] | None = None
    # Share 0-1 of the images answered by the default version that this version also runs, for comparison.
    shadow: Annotated[float, Meta(gt=0, le=1)] | None = None

    @property
    def on_trial(self) -> bool:
        """Whether its version gets only its share of requests."""
        return self.share is not None or self.shadow is not None


@dataclass(frozen=True, slots=True)
class ModelFolder:
    """One model on disk."""

    versions: dict[int, Fingerprint] = field(default_factory=dict)  # newest first
    labels: dict[str, Label] | None = field(default_factory=dict)  # None if labels.json is invalid
    problems: tuple[str, ...] = ()
    readable: bool = True  # if not, nothing else is known


def scan(repository: Path) -> dict[str, ModelFolder]:
    """List the models and versions in `repository`; reads only label files.

    A model is a folder that contains folders named by positive integers. Folders that start with a dot, where
    versions are prepared, are ignored.

    Raises:
        RepositoryError: it cannot be read, or has no model, as the empty folder of an unmounted volume.

    """
    try:
        root = repository.resolve(strict=True)
        if root.is_file():
            raise RepositoryError(f"model repository {repository} is a file, {LAYOUT}")
        folders = _folders(repository)
    except OSError as error:
        raise RepositoryError(f"model repository {repository} cannot be read: {error.strerror}") from None
    except RuntimeError:  # raised by resolve() in Python 3.11 and 3.12
        raise RepositoryError(
            f"model repository {repository} cannot be read: its links form a circle"
        ) from None
    found = {folder.name: _model(folder, root) for folder in folders}
    models = {name: model for name, model in found.items() if model.versions or model.problems}
    if not models:
        if versions := [folder.name for folder in folders if is_version(folder)]:
            raise RepositoryError(
                f"model repository {repository} is the folder of one model, "
                f"with version {', '.join(versions)}; the repository is the folder above it, {root.parent}"
            )
        raise RepositoryError(f"model repository {repository} has no models, {LAYOUT}")
    return models


def parse_labels(content: bytes) -> dict[str, Label]:
    """Read `{"stable": 3, "canary": {"version": 4, "share": 0.05}, "next": {"version": 5, "shadow": 0.2}}`.

    Raises:
        RefusedError: a label is invalid; no label of the file is used then.

    """
    labels = {}
    for name, entry in decode(content, dict[str, msgspec.Raw], LABELS).items():
        if not name or name.isdigit():
            raise RefusedError(f"{LABELS} has a label {name!r}, expected a name that is not a number")
        try:
            label = msgspec.json.decode(entry, type=Version | Label)
        except msgspec.ValidationError:
            value = shown(msgspec.json.decode(entry))
            raise RefusedError(
                f"label {name!r} is {value} in {LABELS}, "
                'expected a version, {"version": 4, "share": 0.05} or {"version": 4, "shadow": 0.2}, '
                "each of 0 to 1"
            ) from None
        labels[name] = label if isinstance(label, Label) else Label(label)
    if (total := sum(label.share or 0 for label in labels.values())) > 1:
        raise RefusedError(f"{LABELS} has shares that add up to {total:g}, expected at most 1")
    if len(shadows := [name for name, label in labels.items() if label.shadow is not None]) > 1:
        raise RefusedError(
            f"labels {shadows[0]!r} and {shadows[1]!r} both have a shadow, expected at most one"
        )
    return labels


def fingerprint(folder: Path) -> Fingerprint:
    """Return names, sizes and times of the files below `folder`, without opening them."""
    return tuple(sorted(_stats(folder)))


def is_version(folder: Path) -> bool:
    """Tell whether a folder's name is a version: a positive integer without leading zeros."""
    name = folder.name
    return name.isascii() and name.isdigit() and not name.startswith("0") and len(name) <= MAX_DIGITS


def _model(folder: Path, root: Path) -> ModelFolder:
    try:
        if not folder.resolve().is_relative_to(root):
            return _unknown(f"its folder is a link to {folder.resolve()}, which is outside the repository")
        entries = _folders(folder)
    except OSError as error:
        return _unknown(f"its folder cannot be read: {error.strerror}")
    versions: dict[int, Fingerprint] = {}
    problems = []
    for entry in entries:
        if is_version(entry):
            versions[int(entry.name)] = fingerprint(entry)
        elif os.path.exists(entry / GRAPH):  # noqa: PTH110 - Path's raises where it may not look
            problems.append(f"folder {entry.name!r} is not named by a positive integer")
    labels: dict[str, Label] | None = None
    try:
        labels = _labels(folder / LABELS, root)
    except (OSError, RuntimeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "its links form a circle"
        problems.append(f"{LABELS} cannot be read: {reason}")
    except RefusedError as error:
        problems.append(str(error))
    return ModelFolder(dict(sorted(versions.items(), reverse=True)), labels, tuple(problems))


def _unknown(problem: str) -> ModelFolder:
    return ModelFolder(problems=(problem,), readable=False)


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
            raise RefusedError(f"{LABELS} is a link that leads out of the repository")
        return parse_labels(read_file(path, MAX_LABELS_BYTES))
    except FileNotFoundError:
        return {}


def _folders(folder: Path) -> list[Path]:
    return sorted(entry for entry in folder.iterdir() if not entry.name.startswith(".") and entry.is_dir())
