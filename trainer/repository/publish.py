"""Atomic publishing of versions."""

import json
import os
import re
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter, validators

from trainer.errors import GateRefused, TrainerError, UsageError
from trainer.repository.manifest import as_version, same_test_images
from trainer.repository.versions import labels, model_lock, point, take_version, version_manifest, versions
from trainer.run import Run, sync

_UNFINISHED = ".publishing-"
STABLE = "stable"
NOT_PUBLISHED = ("probabilities.tsv",)  # a megabyte that can be recomputed

Fraction = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]
Share = Annotated[float, Parameter(validator=validators.Number(gt=0, lte=1))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class Destination:
    """Destination and conditions of a version; each is an option of the command line."""

    repository: Path
    """Model repository to publish into."""
    model: str | None = None
    """Name to publish under; the recipe's or the file's if not given."""
    label: str | None = None
    """Label that then points at the new version, such as canary."""
    share: Fraction | None = None
    """Part of the requests that name neither version nor label which the label gets, 0-1."""
    shadow: Share | None = None
    """Part of the answered images, 0-1, that the version runs too, so that its digits can be compared."""
    min_accuracy: Fraction = 0.0
    """Refuse a model with a lower accuracy on the test images, 0-1."""
    no_worse_than_stable: bool = False
    """Refuse a model that is significantly worse than stable (McNemar's test) or cannot be compared."""
    allow_no_stable: bool = False
    """With --no-worse-than-stable, publish where no version is labelled stable yet."""

    def check(self) -> None:
        """Raise UsageError if an option would have no effect."""
        for option, value in (("share", self.share), ("shadow", self.shadow)):
            if value is not None and self.label is None:
                raise UsageError(f"--{option}: given without --label, expected the label that gets it")
        if self.allow_no_stable and not self.no_worse_than_stable:
            raise UsageError("--allow-no-stable: has no effect without --no-worse-than-stable")


def publish(run: Run, to: Destination) -> Path:
    """Copy a finished run's model and report to the repository as the next version; return its folder.

    The copy is made in a sibling folder that starts with a dot, synced to disk and renamed. Publishers of a
    model are serialized by a lock, and version numbers are never reused. Raises GateRefused, and TrainerError
    if the repository cannot be written.
    """
    table = run.read_manifest()
    folder = check_destination(to.repository, to.model or str(table["recipe"]))
    require(run, table, folder, to)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with model_lock(folder):
            version = _add(run, folder)
        if to.label:
            point(folder, to.label, version, to.share, to.shadow)
    except OSError as error:
        raise TrainerError(f"{error.filename or folder}: cannot publish: {error.strerror}") from error
    return folder / str(version)


def published_version(run: Run, to: Destination) -> Path | None:
    """Return the version folder that already has this run's model, if any."""
    table = run.read_manifest()
    folder = to.repository / (to.model or str(table["recipe"]))
    for version in reversed(versions(folder)):
        if (
            version_manifest(folder, version).get("files", {}).get("model.onnx")
            == table["files"]["model.onnx"]
        ):
            return folder / str(version)
    return None


def stable_version(repository: Path, model: str) -> Path | None:
    """Return the version folder labelled stable; None if there is none or it has no report."""
    from trainer.report.scores import MISCLASSIFIED  # noqa: PLC0415  # takes 50 ms, which few commands need

    folder = repository / model
    version = folder / str(labels(folder).get(STABLE))
    return version if (version / "report" / MISCLASSIFIED).is_file() else None


def check_destination(repository: Path, model: str) -> Path:
    """Return the folder of a model. Raises UsageError if the name is invalid."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]*", model):
        raise UsageError(f"model name {model!r}: expected letters, digits, and _ . - after the first")
    folder = repository / model
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    if not existing.is_dir() or not os.access(existing, os.W_OK):
        raise UsageError(f"--repository {repository}: {existing} is not a folder that can be written to")
    return folder


def require(run: Run, manifest: dict[str, Any], folder: Path, to: Destination) -> None:
    """Raise GateRefused if a run does not meet the conditions for the model in `folder`.

    A run is refused if it is significantly worse than the stable version on the same test images, by
    McNemar's exact test at the 5 % level.
    """
    # Imported here: it takes 50 ms, which few commands need.
    from trainer.report.scores import MISCLASSIFIED, compare_misclassified, read_misclassified  # noqa: PLC0415

    accuracy = manifest["metrics"]["test_accuracy"]
    if accuracy < to.min_accuracy:
        raise GateRefused(f"test accuracy {accuracy:.2%}, expected at least {to.min_accuracy:.2%}")
    if not to.no_worse_than_stable:
        return
    stable = labels(folder).get(STABLE)
    if stable is None:
        if to.allow_no_stable:
            return
        raise GateRefused(
            f"{folder}: no version is labelled stable, so there is nothing to compare with; "
            "--allow-no-stable publishes without comparing"
        )
    other = version_manifest(folder, stable)
    if not same_test_images(manifest["data"], other["data"]):
        raise GateRefused(
            f"{folder / str(stable)}: tested on other images ({other['data']['name']}) than the run "
            f"({manifest['data']['name']}): they cannot be compared"
        )
    theirs = folder / str(stable) / "report" / MISCLASSIFIED
    mine = read_misclassified(run.report / MISCLASSIFIED)
    result = compare_misclassified(manifest["data"]["test_images"], mine, read_misclassified(theirs))
    if result.significant and result.only_second_right > result.only_first_right:
        raise GateRefused(
            f"significantly worse than version {stable}: {result.only_second_right} test images that it "
            f"gets right are wrong, {result.only_first_right} the other way round (p = {result.p_value:.2g})"
        )


def require_agreement(folder: Path, version: int, agreement: float, images: int, url: str | None) -> str:
    """Check a version's agreement with the stable one in the metrics at `url`; return it as text.

    Without `url`, the server is on this machine. Raises GateRefused if the agreement is below `agreement`
    (0-1) or the images are fewer than `images`; TrainerError if the metrics cannot be read.
    """
    # Imported here: the reader of metrics takes a fifth of a second.
    from clients.errors import InputError  # noqa: PLC0415
    from clients.shadow import METRICS, read_shadows  # noqa: PLC0415

    stable = labels(folder).get(STABLE)
    if stable is None:
        raise GateRefused(f"{folder}: no version is labelled {STABLE}, so there is no agreement with it")
    pair = folder.name, str(stable), str(version)
    try:
        shadows = read_shadows(url or METRICS)
    except InputError as error:
        raise TrainerError(str(error)) from error
    found = [each for each in shadows if (each.model, each.version, each.shadow_version) == pair]
    compared, agreed = sum(each.images for each in found), sum(each.agreed for each in found)
    if compared < images:
        raise GateRefused(
            f"version {version} of {folder.name} was compared with version {stable} on {compared:,} images, "
            f"expected at least {images:,}"
        )
    words = f"{agreed:,} of {compared:,} images get the digit of version {stable} ({agreed / compared:.3%})"
    if agreed / compared < agreement:
        raise GateRefused(f"version {version} of {folder.name}: {words}, expected at least {agreement:.3%}")
    return words


def _add(run: Run, folder: Path) -> int:
    for left in folder.glob(_UNFINISHED + "*"):  # left by a killed publisher; the lock excludes running ones
        shutil.rmtree(left, ignore_errors=True)
    version = take_version(folder)
    temporary = Path(tempfile.mkdtemp(prefix=_UNFINISHED, dir=folder))
    try:
        shutil.copyfile(run.model, temporary / "model.onnx")
        if run.integer_model.exists():
            shutil.copyfile(run.integer_model, temporary / run.integer_model.name)
        if run.report.is_dir():
            left_out = shutil.ignore_patterns(*NOT_PUBLISHED)
            shutil.copytree(run.report, temporary / "report", ignore=left_out, copy_function=shutil.copyfile)
        table = as_version(run.read_manifest(), folder.name, version, temporary)
        (temporary / "manifest.json").write_text(json.dumps(table, indent=2) + "\n", encoding="utf-8")
        temporary.chmod(0o755)
        for path in (*temporary.rglob("*"), temporary):
            sync(path)
        temporary.rename(folder / str(version))
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    sync(folder)
    return version
