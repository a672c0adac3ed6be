"""manifest.json: what a version is and the proof that it works; docs/model-repository.md is its contract."""

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
# Graphics cards multiply float32 with 10 bits of mantissa; a wrong model is off by far more.
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
    """Return manifest.json for the model in a run directory; publishing decides version, time and files.

    `facts` are recipe, seed, parameters, data (name, sha256s, images), exported_epoch; `accuracy` is that on
    the test images.
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
    """Return the positions of the first few images of each digit: the golden set of held-out images."""
    return np.sort(np.concatenate([np.flatnonzero(digits == d)[:GOLDEN_IMAGES_PER_DIGIT] for d in range(10)]))


def golden_table(
    images: NDArray[np.uint8], probabilities: NDArray[np.float32], tolerance: float = GOLDEN_TOLERANCE
) -> dict[str, Any]:
    """Return images [k, 784] and the probabilities [k, 10] of the exported graph as the manifest has them."""
    return {
        "images": base64.b64encode(images.tobytes()).decode("ascii"),
        "digits": probabilities.argmax(axis=1).tolist(),
        "probabilities": [[round(float(p), 7) for p in row] for row in probabilities],
        "tolerance": tolerance,
    }


def as_version(table: dict[str, Any], model: str, version: int, folder: Path) -> dict[str, Any]:
    """Return the manifest of a version whose files lie in `folder`."""
    files = {
        path.relative_to(folder).as_posix(): _file_facts(path)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != "manifest.json"
    }
    own = {key: value for key, value in table.items() if key not in _OF_THE_RUN_ALONE}
    return own | {"model": model, "version": version, "created": utc_now(), "files": files}


def same_test_images(first: dict[str, Any], second: dict[str, Any]) -> bool:
    """Say whether two manifests' `data` have the same test images; training images may differ."""
    if "test_sha256" in first and "test_sha256" in second:
        return bool(first["test_sha256"] == second["test_sha256"])
    return bool(first["sha256"] == second["sha256"])


def library_versions() -> dict[str, str]:
    """Return the version of Python and of each installed library that shapes the result."""
    versions = {"python": platform.python_version()}
    for name in _LIBRARIES:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def source_commit(package: Path = Path(__file__).parents[1]) -> str | None:
    """Return the git commit of a package, `-dirty` where its files differ from it.

    None where the package is not under version control: installed into the checkout of another project it
    has no commit of its own.
    """
    try:
        _git(package, "ls-files", "--error-unmatch", "__init__.py")
        commit = _git(package, "rev-parse", "HEAD")
        changed = _git(package, "status", "--porcelain", "--", ".")
    except (OSError, subprocess.CalledProcessError):
        return None
    return commit + ("-dirty" if changed else "")


def utc_now() -> str:
    """Return the time as RFC 3339 in UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _git(folder: Path, *words: str) -> str:
    command = ["git", "-C", str(folder), *words]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()


def _file_facts(path: Path) -> dict[str, str | int]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest(), "bytes": path.stat().st_size}
