"""`manifest.json` and the files it lists: description and verification data of a published version."""

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
# Ten times a manifest with a golden set of a thousand images.
MAX_MANIFEST_BYTES = 16 * 1024 * 1024
# Several hundred times the shipped models; loads in seconds while another version serves.
MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_SHOWN_CHARACTERS = 40
CLASSES = 10

Count = Annotated[int, Meta(ge=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Kind = TypeVar("Kind")


class Golden(Struct, frozen=True):
    """Held-out images with the answers of the graph when it was published."""

    images: bytes  # k x 784, base64 in the file
    digits: list[int]  # k
    probabilities: list[list[float]]  # k x 10
    tolerance: NotNegative  # largest accepted difference of a probability

    def __post_init__(self) -> None:
        """Check that the parts have matching lengths; msgspec converts the ValueError."""
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
    """Size and checksum of one file."""

    sha256: str
    size_bytes: Count = msgspec.field(name="bytes")


class Metrics(Struct, frozen=True):
    """Measurements of the float graph on test data."""

    test_accuracy: float


class Graph(Struct, frozen=True):
    """One graph of the version, float or 8-bit: its file, accuracy and golden set."""

    file: str
    test_accuracy: float
    golden: Golden
    precision: str = "int8"


class Manifest(Struct, frozen=True):
    """The keys of `manifest.json` that the server uses; docs/model-repository.md has all of them."""

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
        """The float graph, which every version has."""
        return Graph(GRAPH, self.metrics.test_accuracy, self.golden, "float32")


@dataclass(frozen=True, slots=True)
class VersionFiles:
    """A version's folder, its files verified against the manifest."""

    folder: Path
    manifest: Manifest
    sha256: str  # of the manifest, which lists those of all other files
    graphs: dict[str, bytes]  # by name, read once

    @classmethod
    def read(cls, folder: Path, root: Path) -> "VersionFiles":
        """Read the version in `folder` of the repository `root`, and verify every file against the manifest.

        Raises:
            RefusedError: a file is missing, is outside of the folder, or differs from the manifest.

        """
        _refuse_outside(folder, root, "the version's folder is outside the repository")
        _refuse_outside(folder / MANIFEST, folder, f"{MANIFEST} is outside the version's folder")
        content = _read(folder, MANIFEST, MAX_MANIFEST_BYTES)
        manifest = decode(content, Manifest, MANIFEST)
        if manifest.schema != SCHEMA:
            raise RefusedError(f"{MANIFEST} has schema {manifest.schema}, expected {SCHEMA}")
        named, expected = f"{manifest.model}/{manifest.version}", f"{folder.parent.name}/{folder.name}"
        if named != expected:
            raise RefusedError(f"{MANIFEST} is of {named}, expected {expected}")
        graphs = {GRAPH} if manifest.int8 is None else {GRAPH, manifest.int8.file}
        if missing := sorted(graphs - manifest.files.keys()):
            raise RefusedError(f"{MANIFEST} lists no {missing[0]}")
        contents = {}
        for name, promise in manifest.files.items():
            outside = f"{MANIFEST} lists {name!r}, which is outside the version's folder"
            _refuse_outside(folder / name, folder, outside)
            file = _read(folder, name, MAX_FILE_BYTES, promise.size_bytes)
            actual = hashlib.sha256(file).hexdigest()
            if actual != promise.sha256:
                raise RefusedError(f"{name} has sha256 {actual}, the manifest says {promise.sha256}")
            if name in graphs:
                contents[name] = file
        return cls(folder, manifest, hashlib.sha256(content).hexdigest(), contents)


def read_file(path: Path, max_bytes: int, expected_bytes: int | None = None) -> bytes:
    """Read a regular file of at most `max_bytes`.

    Raises:
        RefusedError: it is not a regular file, is too large, or its size is not `expected_bytes`.
        OSError: it cannot be read.

    """
    found = path.stat()  # checked first: a pipe never ends, and a file may still be being copied
    if not stat.S_ISREG(found.st_mode):
        raise RefusedError(f"{path.name} is not a regular file")
    if found.st_size > max_bytes:
        raise RefusedError(f"{path.name} has {found.st_size} bytes, expected at most {max_bytes}")
    if expected_bytes not in {None, found.st_size}:
        raise RefusedError(f"{path.name} has {found.st_size} bytes, the manifest says {expected_bytes}")
    return path.read_bytes()


def decode(content: bytes, kind: type[Kind], name: str) -> Kind:
    """Decode the JSON of the file `name`.

    Raises:
        RefusedError: it is not JSON, or a key is missing or of another type; the message names the key, its
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
    """Return a JSON value as one short line for a message."""
    text = msgspec.json.encode(value).decode()
    return text if len(text) <= MAX_SHOWN_CHARACTERS else f"{text[:MAX_SHOWN_CHARACTERS]}..."


def _read(folder: Path, name: str, max_bytes: int, expected_bytes: int | None = None) -> bytes:
    try:
        return read_file(folder / name, max_bytes, expected_bytes)
    except OSError as error:
        hint = "; `digit-trainer import` publishes an ONNX file that has none" if name == MANIFEST else ""
        raise RefusedError(f"{name} cannot be read: {error.strerror}{hint}") from None


def _refuse_outside(path: Path, folder: Path, message: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedError(message)
