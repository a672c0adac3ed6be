"""The four files of a data set: which is which by name, what each holds by its content."""

from dataclasses import dataclass
from pathlib import Path

from trainer.data.content import opened
from trainer.data.dataset import Dataset
from trainer.data.idx import parse_idx
from trainer.data.npz import parse_npz
from trainer.data.table import parse_table
from trainer.data.values import Values, pair
from trainer.errors import TrainerError

_ARCHIVE = "mnist"


@dataclass(frozen=True)
class Layout:
    """What the files of a data set are called, without `.gz` and, for tables, without any suffix."""

    x_train: str
    y_train: str
    x_test: str
    y_test: str


IDX_LAYOUT = Layout(
    "train-images-idx3-ubyte", "train-labels-idx1-ubyte", "t10k-images-idx3-ubyte", "t10k-labels-idx1-ubyte"
)
TABLE_LAYOUT = Layout("X_train", "y_train", "X_test", "y_test")


def read_values(path: Path) -> Values:
    """Return the one array in an IDX file or a table. Raises TrainerError."""
    with opened(path) as (kind, stream):
        match kind:
            case "idx":
                return Values(parse_idx(stream.read(), str(path)), str(path))
            case "table":
                return parse_table(stream, str(path))
            case "npz":
                raise TrainerError(f"{path}: an npz archive, expected IDX or a table of numbers")


def load_archive(path: Path, name: str) -> Dataset:
    """Return the data set in one npz file. Raises TrainerError."""
    with opened(path) as (kind, stream):
        if kind != "npz":
            raise TrainerError(f"{path}: one {kind} file, expected mnist.npz or a folder of four files")
        return parse_npz(stream, str(path), name)


def load_files(name: str, x_train: Path, y_train: Path, x_test: Path, y_test: Path) -> Dataset:
    """Return the data set that four files of any format hold. Raises TrainerError."""
    train = pair(read_values(x_train), read_values(y_train))
    return Dataset(name, *train, *pair(read_values(x_test), read_values(y_test)))


def load_folder(folder: Path) -> Dataset:
    """Return the data set in a folder: IDX files, mnist.npz, or the tutorial's four tables.

    Raises TrainerError when there is none, or more than one.
    """
    files = sorted(path for path in folder.iterdir() if path.is_file())
    name = folder.resolve().name
    found: list[tuple[Path, ...]] = [
        (path,) for path in files if _stem(path) == _ARCHIVE and path.suffix == ".npz"
    ]
    for layout in (IDX_LAYOUT, TABLE_LAYOUT):
        parts = {
            part: [path for path in files if _stem(path) == stem.lower()]
            for part, stem in vars(layout).items()
        }
        if not any(parts.values()):
            continue
        for part, candidates in parts.items():
            if len(candidates) != 1:
                there = ", ".join(path.name for path in candidates) or "none"
                raise TrainerError(f"{folder}: {getattr(layout, part)}: {there}, expected one such file")
        found.append(tuple(candidates[0] for candidates in parts.values()))
    if len(found) != 1:
        what = " and ".join(paths[0].name for paths in found) or "no data set"
        raise TrainerError(
            f"{folder}: {what} in this folder, expected one of: four IDX files (train-images-idx3-ubyte ...), "
            "mnist.npz, four tables (X_train.tsv y_train.tsv X_test.tsv y_test.tsv)"
        )
    (paths,) = found
    return load_archive(paths[0], name) if len(paths) == 1 else load_files(name, *paths)


def _stem(path: Path) -> str:
    """Return what a file is called without `.gz` and the suffix before it."""
    name = path.name.lower().removesuffix(".gz")
    # Some mirrors write train-images.idx3-ubyte.
    name = name.replace(".idx", "-idx")
    return name.split(".")[0]
