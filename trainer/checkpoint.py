"""The state of an unfinished training on disk: written whole or not at all, resumed only by its own run."""

import io
import json
import os
import zipfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import TrainerError, writing
from trainer.observer import Epoch


@dataclass(frozen=True)
class Progress:
    """How far a training is: the next step of the next epoch, and what the epoch summed up so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    hits: int = 0
    elapsed_seconds: float = 0.0
    history: tuple[Epoch, ...] = ()


@dataclass(frozen=True)
class Checkpoint:
    """One file that holds a training's state.

    `fingerprint` says which training it is: a checkpoint of another recipe, seed or data is refused.
    """

    path: Path
    fingerprint: str

    def save(self, progress: Progress, variables: list[Any]) -> None:
        """Replace the file with this state; whoever is killed meanwhile leaves the former one."""
        content = io.BytesIO()
        arrays = {f"v{i}": np.asarray(variable) for i, variable in enumerate(variables)}
        about = json.dumps({"fingerprint": self.fingerprint, "progress": asdict(progress)})
        np.savez(content, about=np.array(about), **arrays)  # type: ignore[arg-type]  # numpy's stub wants a bool
        write_durably(self.path, content.getvalue())

    def load(self) -> tuple[Progress, list[NDArray[Any]]] | None:
        """Return the saved state, None where there is none. Raises TrainerError for another training's."""
        if not self.path.exists():
            return None
        try:
            with np.load(self.path, allow_pickle=False) as file:
                about = json.loads(str(file["about"]))
                variables = [file[f"v{i}"] for i in range(len(file.files) - 1)]
        except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
            raise TrainerError(f"{self.path}: damaged checkpoint: {error}") from error
        if about["fingerprint"] != self.fingerprint:
            raise TrainerError(
                f"{self.path}: belongs to a training with another recipe, seed, number of epochs or data; "
                "resume with the same ones, or choose another run directory"
            )
        table = about["progress"]
        history = tuple(Epoch(**row) for row in table.pop("history"))
        return Progress(**table, history=history), variables


def write_durably(path: Path, content: bytes) -> None:
    """Replace a file's content so that a reader, or a crash, sees the old one or the new one."""
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
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
