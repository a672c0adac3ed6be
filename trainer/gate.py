"""Conditions that a run must meet before it is published."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from trainer.errors import GateRefused, TrainerError
from trainer.evaluation.mcnemar import mcnemar
from trainer.repository import version_manifest

MISTAKES = "report/mistakes.tsv"
_HEADER = "image\tdigit\tpredicted"


def write_mistakes(path: Path, digits: NDArray[np.int64], predicted: NDArray[np.int64]) -> None:
    """Write the test images that were taken for another digit, a row each, images counted from 0."""
    wrong = np.flatnonzero(digits != predicted)
    rows = [f"{image}\t{digits[image]}\t{predicted[image]}" for image in wrong]
    path.write_text("\n".join([_HEADER, *rows]) + "\n", encoding="utf-8")


def require_accuracy(manifest: dict[str, Any], at_least: float) -> None:
    """Raise GateRefused unless the accuracy on the test images is high enough."""
    accuracy = manifest["metrics"]["test_accuracy"]
    if accuracy < at_least:
        raise GateRefused(f"test accuracy {accuracy:.2%}, expected at least {at_least:.2%}")


def require_no_worse(run: Path, manifest: dict[str, Any], model: Path, version: int) -> None:
    """Raise GateRefused when the run is significantly worse than a published version.

    Both were tested on the same images, so only those that one got right and the other wrong count:
    McNemar's exact test at the 5 % level. Raises TrainerError when they were tested on other images.
    """
    other = version_manifest(model, version)
    if manifest["data"]["sha256"] != other["data"]["sha256"]:
        raise TrainerError(
            f"{model / str(version)}: tested on {other['data']['name']}, the run on "
            f"{manifest['data']['name']}: they cannot be compared"
        )
    images = manifest["data"]["test_images"]
    mine, theirs = _mistakes(run / MISTAKES), _mistakes(model / str(version) / MISTAKES)
    # What neither got wrong both got right; which digit it was makes no difference to the test.
    digits = np.zeros(images, dtype=np.int64)
    result = mcnemar(digits, _answers(images, mine), _answers(images, theirs))
    if result.significant and result.only_second_right > result.only_first_right:
        raise GateRefused(
            f"significantly worse than version {version}: {result.only_second_right} test images that it "
            f"gets right are wrong, {result.only_first_right} the other way round (p = {result.p_value:.2g})"
        )


def _answers(images: int, wrong: set[int]) -> NDArray[np.int64]:
    answers = np.zeros(images, dtype=np.int64)
    answers[sorted(wrong)] = 1
    return answers


def _mistakes(path: Path) -> set[int]:
    try:
        header, *rows = path.read_text(encoding="utf-8").splitlines() or [""]
        wrong = {int(row.split("\t")[0]) for row in rows}
    except OSError as error:
        raise TrainerError(f"{path}: {error.strerror}") from error
    except ValueError as error:
        raise TrainerError(f"{path}: damaged: {error}") from error
    if header != _HEADER:
        raise TrainerError(f"{path}: begins with {header!r}, expected {_HEADER!r}")
    return wrong
