"""Add a version to a model repository so that a reader sees all of it or nothing."""

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from trainer.errors import TrainerError
from trainer.manifest import Manifest, manifest_text
from trainer.provenance import utc_now

_UNFINISHED = ".publishing-"
_LAST_VERSION = ".last-version"


def publish(manifest: Manifest, model_path: Path, report: Path, repository: Path, model: str) -> Path:
    """Copy a model and its report into the repository as the next version; return the version's folder.

    The copy is made in a sibling folder that starts with a dot, synced to disk and renamed into place.
    Publishers of one model take turns, and a number once taken is never given again, not even after a
    crash. Raises TrainerError when the repository cannot be written.
    """
    folder = repository / model
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with _turn(folder) as last_version:
            _remove_unfinished(folder)
            version = _next_version(folder, last_version)
            temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
            try:
                _copy(temporary, model_path, report)
                text = manifest_text(
                    manifest, model=model, version=version, created=utc_now(), folder=temporary
                )
                (temporary / "manifest.json").write_text(text, encoding="utf-8")
                temporary.chmod(0o755)
                _sync_tree(temporary)
                temporary.rename(folder / str(version))
            except BaseException:
                shutil.rmtree(temporary, ignore_errors=True)
                raise
            _sync(folder)
    except OSError as error:
        raise TrainerError(f"{error.filename or folder}: cannot publish: {error.strerror}") from error
    return folder / str(version)


@contextmanager
def _turn(folder: Path) -> Iterator[int]:
    """Hold the model's lock, which ends with the process, and give the highest version ever taken."""
    descriptor = os.open(folder / _LAST_VERSION, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        text = os.read(descriptor, 32).strip()
        yield int(text) if text.isdigit() else 0
    finally:
        os.close(descriptor)


def _next_version(folder: Path, last_version: int) -> int:
    """Take the next number and write it down before it is used."""
    there = [int(entry.name) for entry in folder.iterdir() if entry.name.isdigit()]
    version = max([last_version, *there]) + 1
    path = folder / _LAST_VERSION
    with path.open("r+", encoding="ascii") as file:
        file.write(f"{version}\n")
        file.flush()
        os.fsync(file.fileno())
    return version


def _remove_unfinished(folder: Path) -> None:
    """Remove what a killed publisher left; holding the lock, nobody else is at work."""
    for entry in folder.glob(_UNFINISHED + "*"):
        shutil.rmtree(entry, ignore_errors=True)


def _copy(target: Path, model_path: Path, report: Path) -> None:
    shutil.copyfile(model_path, target / "model.onnx")
    shutil.copytree(report, target / "report", copy_function=shutil.copyfile)


def _sync_tree(folder: Path) -> None:
    for path in folder.rglob("*"):
        _sync(path)
    _sync(folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
