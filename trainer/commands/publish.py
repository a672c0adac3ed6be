"""`digit-trainer publish`, `promote` and `rollback`."""

from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

from cyclopts import Parameter, validators

from trainer.errors import TrainerError, UsageError
from trainer.repository.publish import (
    STABLE,
    Destination,
    Fraction,
    Share,
    check_destination,
    published_version,
    require_agreement,
    stable_version,
)
from trainer.repository.publish import publish as add
from trainer.repository.versions import end_shadow, existing_model, labels, point, point_back, versions
from trainer.run import Run

Count = Annotated[int, Parameter(validator=validators.Number(gte=1))]
MIN_SHADOW_IMAGES = 1000


def publish(run: Path, /, *, to: Destination) -> int:
    """Add a finished run to a model repository as the next version.

    Parameters
    ----------
    run
        Run directory of `train`.
    to
        Destination and conditions.

    """
    to.check()
    _publish(Run(run), to)
    return 0


def import_model(file: Path, /, *, data: str, to: Destination) -> int:
    """Publish an ONNX model that another program exported.

    Parameters
    ----------
    file
        ONNX file.
    data
        Labelled images, as for train: the training images find layout and scaling, the test images measure.
    to
        Destination and conditions.

    """
    to.check()
    name = to.model or file.stem
    check_destination(to.repository, name)
    from trainer.data.dataset import load_data  # noqa: PLC0415  # mistakes in the options are reported before
    from trainer.export.foreign import inspect  # noqa: PLC0415
    from trainer.train import finish_import  # noqa: PLC0415

    dataset = load_data(data)
    foreign = inspect(file, dataset.x_train, dataset.y_train)
    print(f"input   {foreign}")
    with TemporaryDirectory() as folder:
        run = Run(Path(folder))
        metrics = finish_import(foreign, run, dataset, stable_version(to.repository, name))
        wrong = f"{metrics['test_errors_images']} wrong"
        print(f"test    {metrics['test_accuracy']:.2%} of {metrics['test_images']:,} test images ({wrong})")
        _publish(run, replace(to, model=name))
    return 0


def _publish(run: Run, to: Destination) -> None:
    """Publish a finished run, unless it is a version already, and print the result."""
    if again := published_version(run, to):
        print(f"model   {again} holds this run already; `promote` moves labels")
        return
    added = add(run, to)
    print(f"model   {added}")
    if versions(added.parent) == [int(added.name)]:
        print(f"new     {added.parent.name} is a new model in {to.repository}")
    if to.label:
        print(f"label   {to.label}{_extent(to.share, to.shadow)}")


def promote(  # noqa: PLR0913  # each is a flag
    *,
    repository: Path,
    model: str = "digits",
    version: int | None = None,
    from_label: str = "canary",
    label: str = STABLE,
    share: Fraction | None = None,
    shadow: Share | None = None,
    shadow_agreement: Fraction | None = None,
    min_shadow_images: Count | None = None,
    metrics: str | None = None,
) -> int:
    """Move a label to a version; by default `stable` to the version labelled `canary`.

    Parameters
    ----------
    repository
        Model repository.
    model
        Name of the model.
    version
        Version to point at, instead of a label's.
    from_label
        Label whose version to point at.
    label
        Label to move.
    share
        Part of the requests that name neither version nor label which the label gets, 0-1; a label that
        moves without it has none.
    shadow
        Part of the answered images, 0-1, that the version runs too, so that its digits can be compared.
    shadow_agreement
        Refuse a version that, as a shadow, gave the stable version's digit for a smaller share, 0-1.
    min_shadow_images
        With --shadow-agreement, refuse a version that was compared on fewer images; 1,000 if not given.
    metrics
        With --shadow-agreement, the server's metrics; http://127.0.0.1:9090/metrics if not given.

    """
    folder = existing_model(repository, model)
    if version is None:
        version = labels(folder).get(from_label)
        if version is None:
            raise TrainerError(f"{folder}: no label {from_label}; label a version or give --version")
    if shadow_agreement is not None:
        least = min_shadow_images or MIN_SHADOW_IMAGES
        agreed = require_agreement(folder, version, shadow_agreement, least, metrics)
        print(f"shadow  {agreed}")
    elif min_shadow_images is not None or metrics is not None:
        raise UsageError("--min-shadow-images and --metrics: have no effect without --shadow-agreement")
    before = point(folder, label, version, share, shadow)
    was = f" (was {before})" if before not in {None, version} else ""
    print(f"{label}  {model} {version}{was}{_extent(share, shadow)}")
    for ended in end_shadow(folder, version) if label == STABLE else ():
        print(f"{ended}  {model} {version}, no longer a shadow: it is {STABLE} now")
    return 0


def _extent(share: float | None, shadow: float | None) -> str:
    parts = [
        *([f"{share:.0%} of the requests"] if share is not None else []),
        *([f"{shadow:.0%} of the answered images as a shadow"] if shadow is not None else []),
    ]
    return f" with {' and '.join(parts)}" if parts else ""


def rollback(*, repository: Path, model: str = "digits", label: str = "stable") -> int:
    """Move a label back to the version before its last move.

    Parameters
    ----------
    repository
        Model repository.
    model
        Name of the model.
    label
        Label to move back.

    """
    left, now = point_back(existing_model(repository, model), label)
    print(f"{label}  {model} {now} (was {left})")
    return 0
