"""What a run directory says about how its model came to be."""

import csv
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from trainer.data.dataset import Dataset
from trainer.data.source import load_data
from trainer.errors import TrainerError
from trainer.observer import Epoch
from trainer.recipe import parse_recipe
from trainer.run import Run
from trainer.schedule import exported_epoch

_SOURCE_FILE = "data.txt"

History = tuple[dict[str, float], ...]
"""The rows of history.csv: one an epoch."""


@dataclass(frozen=True)
class Record:
    """The manifest, the recipe in TOML, and a row of figures an epoch."""

    manifest: dict[str, Any]
    recipe: str
    history: History

    @property
    def summary(self) -> str:
        """What the recipe is, in one line."""
        return str(tomllib.loads(self.recipe).get("summary", ""))

    @property
    def validation_accuracy(self) -> float:
        """Accuracy on the validation images after the epoch that was exported."""
        rule = parse_recipe(self.recipe, "", "recipe.toml").fit.early_stopping
        epochs = [Epoch(**row) for row in self.history]  # type: ignore[arg-type]  # CSV has no whole numbers
        return epochs[exported_epoch(rule, epochs)].validation_accuracy

    @property
    def fit_duration_seconds(self) -> float:
        """Time spent training."""
        return sum(row["duration_seconds"] for row in self.history)


def read_record(run: Run, manifest: dict[str, Any]) -> Record:
    """Return the record of a run whose manifest is known. Raises TrainerError."""
    try:
        recipe = run.recipe.read_text(encoding="utf-8")
        with run.history.open(encoding="utf-8", newline="") as file:
            rows = list(csv.DictReader(file))
    except OSError as error:
        raise TrainerError(f"{error.filename}: {error.strerror}, expected a finished run") from error
    try:
        history = tuple({key: float(value) for key, value in row.items()} for row in rows)
    except (ValueError, TypeError) as error:
        raise TrainerError(f"{run.history}: {error}, expected a row of numbers an epoch") from error
    return Record(manifest, recipe, history)


def write_data_source(run: Run, source: str) -> None:
    """Note what `--data` named, so that the report can be made again."""
    parts = [str(Path(part).resolve()) if Path(part).exists() else part for part in source.split(",")]
    (run.folder / _SOURCE_FILE).write_text(",".join(parts) + "\n", encoding="utf-8")


def load_run_data(run: Run, manifest: dict[str, Any], source: str | None = None) -> Dataset:
    """Return the data that a run was trained on, from where it was or from `source`.

    Raises TrainerError when it is not there, or other data by now.
    """
    if source is None:
        try:
            source = (run.folder / _SOURCE_FILE).read_text(encoding="utf-8").strip()
        except OSError as error:
            raise TrainerError(
                f"{error.filename}: {error.strerror}; name the run's data with --data"
            ) from error
    dataset = load_data(source)
    expected = manifest["data"]["sha256"]
    if dataset.sha256 != expected:
        raise TrainerError(
            f"--data {source}: sha256 {dataset.sha256[:12]}..., expected {expected[:12]}... as {run.folder} was "
            "trained on"
        )
    return dataset
