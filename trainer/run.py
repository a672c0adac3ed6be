"""A run directory: everything about one training, under names that stay the same."""

import csv
import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from trainer.checkpoint import write_durably
from trainer.errors import TrainerError
from trainer.observer import Epoch
from trainer.recipe import Recipe
from trainer.schema import to_toml


def fingerprint_of(recipe: Recipe, seed: int, epochs: int, data_sha256: str) -> str:
    """Return a digest of all that decides what a training does."""
    parts = (to_toml(recipe), str(seed), str(epochs), data_sha256)
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()


@dataclass(frozen=True)
class Run:
    """The files of a run directory."""

    folder: Path

    @property
    def recipe(self) -> Path:
        """The recipe as it was resolved, TOML."""
        return self.folder / "recipe.toml"

    @property
    def checkpoint(self) -> Path:
        """The state of an unfinished training."""
        return self.folder / "checkpoint.npz"

    @property
    def history(self) -> Path:
        """A row an epoch, CSV."""
        return self.folder / "history.csv"

    @property
    def network(self) -> Path:
        """The served network, Keras."""
        return self.folder / "model.keras"

    @property
    def weights(self) -> Path:
        """Its weights alone, HDF5."""
        return self.folder / "model.weights.h5"

    @property
    def architecture(self) -> Path:
        """Its layers alone, Keras JSON."""
        return self.folder / "architecture.json"

    @property
    def model(self) -> Path:
        """The served graph, ONNX."""
        return self.folder / "model.onnx"

    @property
    def integer_model(self) -> Path:
        """The same in 8-bit integers, where that pays."""
        return self.folder / "model.int8.onnx"

    @property
    def report(self) -> Path:
        """The folder with the evidence."""
        return self.folder / "report"

    @property
    def manifest(self) -> Path:
        """What the model is; written last, so a run that has it is finished."""
        return self.folder / "manifest.json"

    def begin(self, recipe: Recipe, fingerprint: str, *, resume: bool) -> bool:
        """Make the folder ready; say whether the run it is asked to resume is already finished.

        Unless it is resumed, what an earlier run left there goes. Raises TrainerError when the finished
        run is another one.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not resume:
            self.checkpoint.unlink(missing_ok=True)
            self.manifest.unlink(missing_ok=True)
            self.integer_model.unlink(missing_ok=True)
        elif self.manifest.exists():
            if self.read_manifest().get("fingerprint") != fingerprint:
                raise TrainerError(
                    f"{self.folder}: holds a finished run with another recipe, seed, number of epochs or "
                    "data; choose another run directory"
                )
            return True
        write_durably(self.recipe, to_toml(recipe).encode())
        return False

    def write_history(self, history: Sequence[Epoch]) -> None:
        """Write every epoch's figures."""
        with self.history.open("w", encoding="utf-8", newline="") as file:
            writer = csv.DictWriter(file, [field.name for field in fields(Epoch)])
            writer.writeheader()
            writer.writerows(asdict(epoch) for epoch in history)

    def write_network(self, network: Any) -> None:
        """Write the served network whole, and its weights and architecture apart."""
        network.save(self.network)
        network.save_weights(self.weights)
        self.architecture.write_text(json.dumps(json.loads(network.to_json()), indent=2) + "\n")

    def finish(self, manifest: dict[str, Any], fingerprint: str) -> None:
        """Write the manifest and drop the state that is no longer needed."""
        self.write_manifest(manifest | {"fingerprint": fingerprint})
        self.checkpoint.unlink(missing_ok=True)

    def write_manifest(self, table: dict[str, Any]) -> None:
        """Replace the manifest."""
        write_durably(self.manifest, (json.dumps(table, indent=2) + "\n").encode())

    def read_manifest(self) -> dict[str, Any]:
        """Return the manifest of a finished run whose model is as it was. Raises TrainerError."""
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
                f"{self.model}: not the file that its run made, expected sha256 {facts['sha256']}"
            )
        return dict(table)
