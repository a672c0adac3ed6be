"""`manifest.json`: what a published version is, and the proof that it works."""

import base64
import binascii
import json
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

GRAPH = "model.onnx"
SCHEMA = 1
# A golden set of a thousand images takes a tenth of it.
MAX_BYTES = 16 * 1024 * 1024
IMAGE_BYTES = 28 * 28
CLASSES = 10


class RefusedError(Exception):
    """A version that may not serve; the message says why."""


@dataclass(frozen=True, slots=True)
class Golden:
    """Held-out images with the answers that the graph gave when it was published."""

    images: NDArray[np.uint8]  # (k, 784)
    digits: NDArray[np.int64]  # (k,)
    probabilities: NDArray[np.float32]  # (k, 10)
    tolerance: float


@dataclass(frozen=True, slots=True)
class File:
    """What the manifest promises of one file."""

    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class Graph:
    """One form of the network, in a file of the version's folder, and what it promises."""

    file: str
    precision: str  # float32 or int8
    test_accuracy: float
    golden: Golden


@dataclass(frozen=True, slots=True)
class Manifest:
    """The parts of `manifest.json` that the server uses (docs/model-repository.md has them all)."""

    model: str
    version: int
    created: str
    recipe: str
    files: dict[str, File]
    graphs: tuple[Graph, ...]  # float32 first; then int8, if there is one

    @classmethod
    def read(cls, path: Path) -> "Manifest":
        """Read and check `manifest.json`.

        Raises:
            RefusedError: it is missing, is not JSON, or a key is missing or has the wrong type or shape.

        """
        try:
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise RefusedError(f"{path.name} is no file")
            if found.st_size > MAX_BYTES:
                raise RefusedError(f"{path.name} has {found.st_size} bytes, expected at most {MAX_BYTES}")
            content = json.loads(path.read_bytes())
        except OSError as error:
            raise RefusedError(f"{path.name} cannot be read: {error.strerror}") from None
        except (ValueError, RecursionError) as error:
            raise RefusedError(f"{path.name} is not JSON: {error}") from None
        try:
            if content["schema"] != SCHEMA:
                raise RefusedError(f"{path.name} has schema {content['schema']!r}, expected {SCHEMA}")
            float32 = Graph(
                file=GRAPH,
                precision="float32",
                test_accuracy=float(content["metrics"]["test_accuracy"]),
                golden=_golden(content["golden"]),
            )
            return cls(
                model=str(content["model"]),
                version=int(content["version"]),
                created=str(content["created"]),
                recipe=str(content["recipe"]),
                files={
                    str(name): File(str(entry["sha256"]), int(entry["bytes"]))
                    for name, entry in content["files"].items()
                },
                graphs=(float32, *_integers(content.get("int8"))),
            )
        except KeyError as error:
            raise RefusedError(f"{path.name} has no key {error}") from None
        except (TypeError, ValueError, AttributeError, binascii.Error) as error:
            raise RefusedError(f"{path.name} is malformed: {error}") from None


def _integers(content: dict[str, Any] | None) -> tuple[Graph, ...]:
    if content is None:
        return ()
    accuracy = float(content["test_accuracy"])
    return (Graph(str(content["file"]), "int8", accuracy, _golden(content["golden"])),)


def _golden(content: dict[str, Any]) -> Golden:
    images = np.frombuffer(base64.b64decode(content["images"], validate=True), np.uint8)
    digits = np.array(content["digits"], np.int64)
    golden = Golden(
        images=images.reshape(-1, IMAGE_BYTES),
        digits=digits,
        probabilities=np.array(content["probabilities"], np.float32).reshape(-1, CLASSES),
        tolerance=float(content["tolerance"]),
    )
    if not len(golden.images) == len(golden.digits) == len(golden.probabilities) > 0:
        raise ValueError(
            f"golden has {len(golden.images)} images, {len(golden.digits)} digits and "
            f"{len(golden.probabilities)} rows of probabilities, expected as many of each"
        )
    return golden
