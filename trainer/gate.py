"""Conditions that a run must meet before it is published."""

from pathlib import Path
from typing import Any

from trainer.errors import GateRefused, TrainerError
from trainer.evaluation.mcnemar import compare_mistakes
from trainer.evaluation.mistakes import MISTAKES, read_mistakes
from trainer.repository import version_manifest


def require_accuracy(manifest: dict[str, Any], at_least: float) -> None:
    """Raise GateRefused unless the accuracy on the test images is high enough."""
    accuracy = manifest["metrics"]["test_accuracy"]
    if accuracy < at_least:
        raise GateRefused(f"test accuracy {accuracy:.2%}, expected at least {at_least:.2%}")


def require_no_worse(report: Path, manifest: dict[str, Any], model: Path, version: int) -> None:
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
    mine, theirs = read_mistakes(report / MISTAKES), read_mistakes(model / str(version) / "report" / MISTAKES)
    result = compare_mistakes(images, mine, theirs)
    if result.significant and result.only_second_right > result.only_first_right:
        raise GateRefused(
            f"significantly worse than version {version}: {result.only_second_right} test images that it "
            f"gets right are wrong, {result.only_first_right} the other way round (p = {result.p_value:.2g})"
        )
