"""What `--data` may name."""

from pathlib import Path

from trainer.data.dataset import Dataset
from trainer.data.idx import load_idx_folder
from trainer.data.sample import load_sample
from trainer.errors import TrainerError


def load_data(source: str) -> Dataset:
    """Return the data set that `sample` or the path of a folder names. Raises TrainerError."""
    if source == "sample":
        return load_sample()
    folder = Path(source)
    if not folder.is_dir():
        raise TrainerError(f"--data {source}: no such folder, expected sample or a folder of IDX files")
    return load_idx_folder(folder)
