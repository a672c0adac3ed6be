"""manifest.json: what a version is and the proof that it works; docs/model-repository.md is its contract."""

import base64
import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.provenance import utc_now

SCHEMA = 1
GOLDEN_IMAGES_PER_DIGIT = 4
# Graphics cards multiply float32 with 10 bits of mantissa; a wrong model is off by far more.
GOLDEN_TOLERANCE = 0.01


@dataclass(frozen=True, eq=False)
class Golden:
    """Held-out images uint8 [k, 784] and the exported graph's probabilities for them [k, 10]."""

    images: NDArray[np.uint8]
    probabilities: NDArray[np.float32]


@dataclass(frozen=True)
class DataFacts:
    """Which data a model was trained and tested on."""

    name: str
    sha256: str
    train_images: int
    validation_images: int
    test_images: int


@dataclass(frozen=True, eq=False)
class Manifest:
    """All that the manifest says but what only publishing decides: version, time, files."""

    recipe: str
    seed: int
    parameters: int
    data: DataFacts
    libraries: dict[str, str]
    source_commit: str | None
    test_accuracy: float
    golden: Golden


def choose_golden(
    images: NDArray[np.uint8], digits: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> Golden:
    """Take the first few held-out images of each digit with the answers the exported graph gave."""
    chosen = np.sort(
        np.concatenate([np.flatnonzero(digits == d)[:GOLDEN_IMAGES_PER_DIGIT] for d in range(10)])
    )
    return Golden(images[chosen], probabilities[chosen])


def manifest_table(manifest: Manifest, folder: Path) -> dict[str, Any]:
    """Return manifest.json for a model in `folder`; its version is decided when it is published."""
    return {
        "schema": SCHEMA,
        "model": manifest.recipe,
        "version": None,
        "created": utc_now(),
        "recipe": manifest.recipe,
        "seed": manifest.seed,
        "parameters": manifest.parameters,
        "data": vars(manifest.data),
        "libraries": manifest.libraries,
        "source_commit": manifest.source_commit,
        "inputs": [{"name": "images", "dtype": "uint8", "shape": [None, 784]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [None, 10]}],
        "metrics": {"test_accuracy": manifest.test_accuracy, "test_images": manifest.data.test_images},
        "files": {"model.onnx": _facts(folder / "model.onnx")},
        "golden": golden_table(manifest.golden, GOLDEN_TOLERANCE),
    }


def golden_table(golden: Golden, tolerance: float) -> dict[str, Any]:
    """Return a golden set as the manifest writes it."""
    return {
        "images": base64.b64encode(golden.images.tobytes()).decode("ascii"),
        "digits": golden.probabilities.argmax(axis=1).tolist(),
        "probabilities": [[round(float(p), 7) for p in row] for row in golden.probabilities],
        "tolerance": tolerance,
    }


def as_version(table: dict[str, Any], model: str, version: int, folder: Path) -> dict[str, Any]:
    """Return the manifest of a version whose files lie in `folder`."""
    files = {
        path.relative_to(folder).as_posix(): _facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    own = {key: value for key, value in table.items() if key != "fingerprint"}
    return own | {"model": model, "version": version, "created": utc_now(), "files": files}


def _facts(path: Path) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
