"""The run directory: all files of one training."""

import csv
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from trainer.errors import TrainerError, UsageError, writing
from trainer.recipe import Recipe, load_recipe

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from trainer.data.dataset import Dataset


@dataclass(frozen=True)
class Epoch:
    """Results of one epoch.

    Loss and accuracy are means over the augmented batches during the epoch; the validation metrics are those
    of the averaged network after it.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float
    learning_rate: float
    duration_seconds: float


def fingerprint_of(recipe: Recipe, seed: int, epochs: int, policy: str, *sha256: str) -> str:
    """Return a digest of everything that determines a training; `policy` is the resolved precision.

    `sha256` are the digests of the data and the teacher, if any.
    """
    decisive = msgspec.structs.replace(recipe, summary="", source="", parameters=None)
    parts = (msgspec.json.encode(decisive).decode(), str(seed), str(epochs), policy, *sha256)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


class Run:
    """The files of a run directory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.recipe = folder / "recipe.json"  # resolved; may be used with `train --recipe`
        self.fingerprint = folder / "fingerprint.txt"  # digest of everything that determines the training
        self.data_source = folder / "data.txt"  # the argument of --data
        self.checkpoint = folder / "checkpoint.npz"  # state after the last finished epoch
        self.history = folder / "history.csv"  # a row per epoch
        self.network = folder / "model.keras"  # the served network
        self.weights = folder / "model.weights.h5"  # only its weights
        self.architecture = folder / "architecture.json"  # only its layers, Keras JSON
        self.model = folder / "model.onnx"  # the served graph
        self.integer_model = folder / "model.int8.onnx"  # the 8-bit graph, if it pays
        self.report = folder / "report"  # report folder
        self.manifest = folder / "manifest.json"  # written last: marks a finished run

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Raise UsageError if training here would overwrite a run, or there is nothing to resume."""
        if overwrite:
            return
        if resume and not self.fingerprint.exists():
            raise UsageError(f"--resume: {self.folder} has no run; start one without --resume")
        if not resume and self.manifest.exists():
            raise UsageError(f"--run-dir {self.folder}: holds a finished run; --overwrite replaces it")
        if not resume and self.checkpoint.exists():
            raise UsageError(
                f"--run-dir {self.folder}: holds an unfinished run; "
                "--resume continues it, --overwrite replaces it"
            )

    def begin(self, recipe: Recipe, fingerprint: str, source: str, *, resume: bool, overwrite: bool) -> bool:
        """Prepare the folder; return whether the resumed run has already finished.

        Raises TrainerError if the folder has another run that must not be overwritten.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if resume and self.fingerprint.exists():
            if self.fingerprint.read_text(encoding="ascii").strip() == fingerprint:
                return self.manifest.exists()
            if not overwrite:
                raise TrainerError(
                    f"{self.folder}: holds a run with another recipe, seed, number of epochs, precision or "
                    "data; choose another run directory, or --overwrite it"
                )
        for path in (self.manifest, self.checkpoint, self.integer_model, self.history):
            path.unlink(missing_ok=True)
        write_durably(self.recipe, msgspec.json.format(msgspec.json.encode(recipe), indent=2) + b"\n")
        parts = [str(Path(part).resolve()) if Path(part).exists() else part for part in source.split(",")]
        write_durably(self.data_source, (",".join(parts) + "\n").encode())
        write_durably(self.fingerprint, f"{fingerprint}\n".encode())
        return False

    def write_history(self, history: Sequence[Epoch]) -> None:
        """Write the metrics of all epochs."""
        with self.history.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in history)

    def read_history(self) -> tuple[Epoch, ...]:
        """Return the metrics of all epochs. Raises TrainerError."""
        try:
            with self.history.open(encoding="utf-8", newline="") as file:
                return tuple(msgspec.convert(row, Epoch, strict=False) for row in csv.DictReader(file))
        except OSError as error:
            raise TrainerError(f"{error.filename}: {error.strerror}, expected a finished run") from error
        except (msgspec.ValidationError, csv.Error) as error:
            raise TrainerError(f"{self.history}: {error}, expected a row of numbers an epoch") from error

    def read_recipe(self) -> Recipe:
        """Return the recipe of the run. Raises TrainerError."""
        if not self.recipe.exists():
            raise TrainerError(f"{self.recipe}: No such file or directory, expected a run directory")
        return load_recipe(str(self.recipe))

    def read_data(self, source: str | None = None) -> "Dataset":
        """Return the run's data, from its recorded source or from `source`.

        Raises TrainerError if it is missing or has changed.
        """
        from trainer.data.dataset import load_data  # noqa: PLC0415  # only needed by few commands

        expected = self.read_manifest()["data"]["sha256"]
        if source is None:
            try:
                source = self.data_source.read_text(encoding="utf-8").strip()
            except OSError as error:
                raise TrainerError(
                    f"{error.filename}: {error.strerror}; name the data with --data"
                ) from error
        dataset = load_data(source)
        if dataset.sha256 != expected:
            raise TrainerError(
                f"--data {source}: sha256 {dataset.sha256[:12]}..., expected {expected[:12]}..., "
                f"the data that {self.folder} was trained on"
            )
        return dataset

    def write_network(self, network: Any) -> None:
        """Write the served network, and its weights and architecture separately."""
        network.save(self.network)
        network.save_weights(self.weights)
        self.architecture.write_text(
            json.dumps(json.loads(network.to_json()), indent=2) + "\n", encoding="utf-8"
        )

    def write_manifest(self, table: dict[str, Any]) -> None:
        """Write the manifest, which marks the run as finished, and remove the checkpoint."""
        write_durably(self.manifest, (json.dumps(table, indent=2) + "\n").encode())
        self.checkpoint.unlink(missing_ok=True)

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest of a finished run, its model verified. Raises TrainerError."""
        try:
            table = json.loads(self.manifest.read_text(encoding="utf-8"))
            facts = table["files"]["model.onnx"]
            content = self.model.read_bytes()
        except OSError as error:
            raise TrainerError(f"{error.filename}: {error.strerror}, expected a finished run") from error
        except (ValueError, KeyError, TypeError) as error:
            raise TrainerError(f"{self.manifest}: damaged manifest: {error!r}") from error
        if hashlib.sha256(content).hexdigest() != facts["sha256"]:
            raise TrainerError(
                f"{self.model}: not the file that the run wrote, expected sha256 {facts['sha256']}"
            )
        return dict(table)


def save_checkpoint(path: Path, history: Sequence[Epoch], arrays: Sequence["NDArray[Any]"]) -> None:
    """Replace the checkpoint atomically."""
    import numpy as np  # noqa: PLC0415  # not needed by commands that only read a run

    content = io.BytesIO()
    rows = np.array(json.dumps([asdict(epoch) for epoch in history]))
    np.savez(content, allow_pickle=False, history=rows, **{f"v{i}": array for i, array in enumerate(arrays)})
    write_durably(path, content.getvalue())


def load_checkpoint(path: Path) -> "tuple[tuple[Epoch, ...], list[NDArray[Any]]] | None":
    """Return history and arrays of a checkpoint; None if there is none. Raises TrainerError."""
    import numpy as np  # noqa: PLC0415  # see above

    if not path.exists():
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            history = tuple(Epoch(**row) for row in json.loads(str(file["history"])))
            return history, [file[f"v{i}"] for i in range(len(file.files) - 1)]
    except (OSError, EOFError, ValueError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise TrainerError(f"{path}: damaged checkpoint: {error}") from error


def write_durably(path: Path, content: bytes) -> None:
    """Replace the contents of a file atomically and durably."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with writing(path), temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def sync(path: Path) -> None:
    """Wait until a file or folder is on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
