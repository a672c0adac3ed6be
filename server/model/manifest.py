"""`manifest.json` and the files that it lists: what a published version is, and the proof that it works."""

import hashlib
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypeVar

import msgspec
import numpy as np
from msgspec import Meta, Struct
from numpy.typing import NDArray

from server.errors import RefusedError
from server.settings import IMAGE_BYTES

MANIFEST = "manifest.json"
GRAPH = "model.onnx"
SCHEMA = 1
# A golden set of a thousand images takes a tenth of it.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
# Several hundred times the shipped model, and still loaded in seconds beside one that serves.
MAX_GRAPH_BYTES = 256 * 1024 * 1024
MAX_SHOWN_CHARACTERS = 40
CLASSES = 10

Count = Annotated[int, Meta(ge=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Kind = TypeVar("Kind")


class Golden(Struct, frozen=True):
    """Held-out images with the answers that the graph gave when it was published."""

    images: bytes  # k x 784, base64 in the file
    digits: list[int]  # k
    probabilities: list[list[float]]  # k x 10
    tolerance: NotNegative  # largest difference of a probability that is still the same answer

    def __post_init__(self) -> None:
        """Refuse a set whose parts do not fit together; msgspec turns the ValueError into its own."""
        rows = len(self.probabilities)
        if len(self.images) % IMAGE_BYTES or any(len(row) != CLASSES for row in self.probabilities):
            raise ValueError(f"expected images of {IMAGE_BYTES} bytes and rows of {CLASSES} probabilities")
        if not len(self.images) // IMAGE_BYTES == len(self.digits) == rows > 0:
            raise ValueError(
                f"{len(self.images) // IMAGE_BYTES} images, {len(self.digits)} digits and {rows} rows of "
                "probabilities, expected as many of each, at least 1"
            )

    @property
    def pixels(self) -> NDArray[np.uint8]:
        """The images as an array (k, 784)."""
        return np.frombuffer(self.images, np.uint8).reshape(-1, IMAGE_BYTES)


class File(Struct, frozen=True):
    """What the manifest promises of one file."""

    sha256: str
    size_bytes: Count = msgspec.field(name="bytes")


class Metrics(Struct, frozen=True):
    """Measurements of the float graph on test data."""

    test_accuracy: float


class Graph(Struct, frozen=True):
    """One form of the network, in a file of the version's folder, and what it promises."""

    file: str
    test_accuracy: float
    golden: Golden
    precision: str = "int8"


class Manifest(Struct, frozen=True):
    """The parts of `manifest.json` that the server uses; docs/model-repository.md has them all."""

    schema: int
    model: str
    version: int
    created: str
    recipe: str
    files: dict[str, File]
    metrics: Metrics
    golden: Golden
    int8: Graph | None = None

    @property
    def float32(self) -> Graph:
        """The graph that every version has."""
        return Graph(GRAPH, self.metrics.test_accuracy, self.golden, "float32")


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """A version's folder, whose files are those that its manifest promises."""

    folder: Path
    manifest: Manifest
    sha256: str  # of the manifest, which has those of all other files
    graphs: dict[str, bytes]  # by name, read once

    @classmethod
    def read(cls, folder: Path, root: Path) -> "VersionFiles":
        """Read the version in `folder`, of the repository `root`, and check every file against the manifest.

        Raises:
            RefusedError: a file is missing, is outside of the folder, or differs from the manifest.

        """
        _refuse_outside(folder, root, "the version's folder is outside the repository")
        _refuse_outside(folder / MANIFEST, folder, f"{MANIFEST} is outside the version's folder")
        content = _read_manifest(folder / MANIFEST)
        manifest = decode(content, Manifest, MANIFEST)
        if manifest.schema != SCHEMA:
            raise RefusedError(f"{MANIFEST} has schema {manifest.schema}, expected {SCHEMA}")
        if (folder.parent.name, folder.name) != (manifest.model, str(manifest.version)):
            raise RefusedError(
                f"{MANIFEST} is of {manifest.model}/{manifest.version}, "
                f"expected {folder.parent.name}/{folder.name}"
            )
        return cls(folder, manifest, hashlib.sha256(content).hexdigest(), _verified(folder, manifest))


def decode(content: bytes, kind: type[Kind], name: str) -> Kind:
    """Decode the JSON of the file `name`.

    Raises:
        RefusedError: it is not JSON, or a key is missing or has another type than `kind`; the message has the key, its
            value and what was expected.

    """
    try:
        try:
            return msgspec.json.decode(content, type=kind)
        except msgspec.ValidationError as error:
            raise RefusedError(f"{name}{_explained(str(error), msgspec.json.decode(content))}") from None
    except (msgspec.DecodeError, RecursionError) as error:
        raise RefusedError(f"{name} is not JSON: {error}") from None


def _explained(error: str, value: Any) -> str:
    """Reword an error of msgspec, such as "Expected `int`, got `str` - at `$.version`", with the value."""
    problem, _, place = error.replace("`", "").partition(" - at $")
    for key in re.findall(r"[^.\[\]]+|\.\.\.", place):  # `[...]` is any key of an object
        if isinstance(value, list) and key.isdigit():
            value = value[int(key)]
        else:
            value = value.get(key) if isinstance(value, dict) else None
    where = f" at {place.removeprefix('.')}" if place else ""
    found = "" if value is None or isinstance(value, dict | list) else f", is {shown(value)}"
    return f"{where}: {problem}{found}"


def shown(value: object) -> str:
    """Return a value of a JSON file as a message shows it: one short line."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _read_manifest(path: Path) -> bytes:
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise RefusedError(f"{path.name} is no file")
        if found.st_size > MAX_MANIFEST_BYTES:
            raise RefusedError(
                f"{path.name} has {found.st_size} bytes, expected at most {MAX_MANIFEST_BYTES}"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise RefusedError(
            f"{path.name} is missing: a version is what `digit-trainer publish` writes, {GRAPH} with its {path.name}"
        ) from None
    except OSError as error:
        raise RefusedError(f"{path.name} cannot be read: {error.strerror}") from None


def _verified(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Check every file against the manifest; return the bytes of the graphs, by name."""
    graphs = dict.fromkeys([GRAPH, *([manifest.int8.file] if manifest.int8 else [])], b"")
    for name in graphs:
        if name not in manifest.files:
            raise RefusedError(f"{MANIFEST} lists no {name}")
    for name, expected in manifest.files.items():
        path = folder / name
        _refuse_outside(path, folder, f"{MANIFEST} lists {name!r}, which is outside the version's folder")
        if name in graphs and expected.size_bytes > MAX_GRAPH_BYTES:
            raise RefusedError(f"{name} has {expected.size_bytes} bytes, expected at most {MAX_GRAPH_BYTES}")
        try:
            # Sizes first: they tell a file that is still being copied without reading it.
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise RefusedError(f"{name} is no file")
            if found.st_size != expected.size_bytes:
                raise RefusedError(
                    f"{name} has {found.st_size} bytes, the manifest says {expected.size_bytes}"
                )
            with path.open("rb") as file:
                if name in graphs:
                    graphs[name] = file.read()
                    actual = hashlib.sha256(graphs[name]).hexdigest()
                else:
                    actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RefusedError(f"{name} cannot be read: {error.strerror}") from None
        if actual != expected.sha256:
            raise RefusedError(f"{name} has sha256 {actual}, the manifest says {expected.sha256}")
    return graphs


def _refuse_outside(path: Path, folder: Path, message: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedError(message)
