"""manifest.json: description and verification data of a version, see docs/model-repository.md."""

import base64
import hashlib
import importlib.metadata
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

SCHEMA = 1
GOLDEN_IMAGES_PER_DIGIT = 4
# GPUs multiply float32 with 10 bits of mantissa (TF32); a wrong model differs by far more.
GOLDEN_TOLERANCE = 0.01

_OF_THE_RUN_ALONE = ("exported_epoch",)
_LIBRARIES = (
    "digit-serving",
    "keras",
    "numpy",
    "onnx",
    "onnxruntime",
    "tensorflow",
    "tensorflow-cpu",
    "tf2onnx",
)


def manifest_table(
    folder: Path, facts: dict[str, Any], golden: dict[str, Any], accuracy: float
) -> dict[str, Any]:
    """Return the manifest of a run's model; version, time and files are set by publishing.

    `facts` are recipe, seed, parameters, data (name, sha256s, images), exported_epoch; `accuracy` is the test
    accuracy.
    """
    return {
        "schema": SCHEMA,
        "model": facts["recipe"],
        "version": None,
        "created": utc_now(),
        **facts,
        "libraries": library_versions(),
        "source_commit": source_commit(),
        "inputs": [{"name": "images", "dtype": "uint8", "shape": [None, 784]}],
        "outputs": [{"name": "probabilities", "dtype": "float32", "shape": [None, 10]}],
        "metrics": {"test_accuracy": accuracy, "test_images": facts["data"]["test_images"]},
        "files": {"model.onnx": _file_facts(folder / "model.onnx")},
        "golden": golden,
    }


def golden_positions(digits: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the indices of the golden set: the first few test images of each digit."""
    return np.sort(np.concatenate([np.flatnonzero(digits == d)[:GOLDEN_IMAGES_PER_DIGIT] for d in range(10)]))


def golden_table(
    images: NDArray[np.uint8], probabilities: NDArray[np.float32], tolerance: float = GOLDEN_TOLERANCE
) -> dict[str, Any]:
    """Return a golden set of images [k, 784] and the graph's probabilities [k, 10] for the manifest."""
    return {
        "images": base64.b64encode(images.tobytes()).decode("ascii"),
        "digits": probabilities.argmax(axis=1).tolist(),
        "probabilities": [[round(float(p), 7) for p in row] for row in probabilities],
        "tolerance": tolerance,
    }


def as_version(table: dict[str, Any], model: str, version: int, folder: Path) -> dict[str, Any]:
    """Return the manifest of a version with the files in `folder`."""
    files = {
        path.relative_to(folder).as_posix(): _file_facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    own = {key: value for key, value in table.items() if key not in _OF_THE_RUN_ALONE}
    return own | {"model": model, "version": version, "created": utc_now(), "files": files}


def same_test_images(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Tell whether two manifests' `data` have the same test images."""
    if "test_sha256" in first and "test_sha256" in second:
        return bool(first["test_sha256"] == second["test_sha256"])
    return bool(first["sha256"] == second["sha256"])


def library_versions() -> dict[str, str]:
    """Return the versions of Python and of the libraries that affect the result."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def source_commit(package: Path = Path(__file__).parents[1]) -> str | None:
    """Return the git commit of a package, with `-dirty` if its files differ from it.

    None if the package is not under version control, also if it is installed inside another project's
    checkout.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changed else "")


def utc_now() -> str:
    """Return the time in UTC, RFC 3339, in seconds."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _file_facts(path: Path) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
