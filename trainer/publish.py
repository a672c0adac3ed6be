"""Add a version to a model repository so that a reader sees all of it or nothing."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from trainer.errors import TrainerError
from trainer.gate import require_accuracy, require_no_worse
from trainer.manifest import as_version
from trainer.report.write import NOT_PUBLISHED
from trainer.repository import labels, point, take_version, turn, version_manifest, versions
from trainer.run import Run

_UNFINISHED = ".publishing-"
_STABLE = "stable"


@dataclass(frozen=True)
class Gates:
    """What a run must meet to be published; where a version is labelled stable it must be no worse."""

    min_accuracy: float = 0.0
    no_worse_than_stable: bool = False


@dataclass(frozen=True)
class Label:
    """A label for the new version and, if given, its share of the requests that name neither."""

    name: str
    share: float | None = None


def publish(
    run: Run,
    repository: Path,
    model: str | None = None,
    label: Label | None = None,
    gates: Gates | None = None,
) -> Path:
    """Copy a finished run's model and report into the repository as the next version; return its folder.

    The copy is made in a sibling folder that starts with a dot, synced to disk and renamed into place.
    Publishers of one model take turns, and a number once taken is never given again. `model` is the
    recipe's name if not given. Raises GateRefused, and TrainerError when the repository cannot be written.
    """
    table = run.read_manifest()
    folder = repository / _checked_name(model or str(table["recipe"]))
    gates = gates or Gates()
    require_accuracy(table, gates.min_accuracy)
    stable = labels(folder).get(_STABLE)
    if gates.no_worse_than_stable and stable is not None:
        require_no_worse(run.report, table, folder, stable)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with turn(folder):
            version = _add(run, folder)
        if label:
            point(folder, label.name, version, label.share)
    except OSError as error:
        raise TrainerError(f"{error.filename or folder}: cannot publish: {error.strerror}") from error
    return folder / str(version)


def published_version(run: Run, repository: Path) -> Path | None:
    """Return the version folder that already holds this run's model, if there is one."""
    table = run.read_manifest()
    folder = repository / str(table["recipe"])
    for version in reversed(versions(folder)):
        if (
            version_manifest(folder, version).get("files", {}).get("model.onnx")
            == table["files"]["model.onnx"]
        ):
            return folder / str(version)
    return None


def _checked_name(model: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", model):
        raise TrainerError(f"model name {model!r}: expected letters, digits, and _ . - after the first")
    return model


def _add(run: Run, folder: Path) -> int:
    for left in folder.glob(_UNFINISHED + "*"):  # a killed publisher's; holding the lock, nobody is at work
        shutil.rmtree(left, ignore_errors=True)
    version = take_version(folder)
    temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        shutil.copyfile(run.model, temporary / "model.onnx")
        if run.integer_model.exists():
            shutil.copyfile(run.integer_model, temporary / run.integer_model.name)
        if run.report.is_dir():
            left_out = shutil.ignore_patterns(*NOT_PUBLISHED)
            shutil.copytree(run.report, temporary / "report", ignore=left_out, copy_function=shutil.copyfile)
        table = as_version(run.read_manifest(), folder.name, version, temporary)
        (temporary / "manifest.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        for path in (*temporary.rglob("*"), temporary):
            _sync(path)
        temporary.rename(folder / str(version))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    _sync(folder)
    return version


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
