"""`digit-trainer publish`, `promote` and `rollback`."""

from pathlib import Path
from typing import Annotated

from cyclopts import Parameter, validators

from trainer.errors import TrainerError, UsageError
from trainer.repository.publish import Gates, Label, published_version
from trainer.repository.publish import publish as add
from trainer.repository.versions import existing_model, labels, point, point_back, versions
from trainer.run import Run

Fraction = Annotated[float, Parameter(validator=validators.Number(gte=0, lte=1))]


def publish(  # noqa: PLR0913  # each is a flag
    run: Path,
    /,
    *,
    repository: Path,
    model: str | None = None,
    label: str | None = None,
    share: Fraction | None = None,
    min_accuracy: Fraction = 0.0,
    no_worse_than_stable: bool = False,
    allow_no_stable: bool = False,
) -> int:
    """Add a finished run to a model repository as the next version.

    Parameters
    ----------
    run
        Run directory of `train`.
    repository
        Model repository to publish into.
    model
        Name to publish under; the recipe's if not given.
    label
        Label that then points at the new version, such as canary.
    share
        Part of the requests that name neither version nor label which the label gets, 0-1.
    min_accuracy
        Refuse a run with a lower accuracy on the test images, 0-1.
    no_worse_than_stable
        Refuse a run that is significantly worse (McNemar's test) than the version labelled stable, or that
        cannot be compared with it.
    allow_no_stable
        With --no-worse-than-stable, publish where no version is labelled stable yet.

    """
    if share is not None and label is None:
        raise UsageError("--share: given without --label, expected the label that gets the share")
    if allow_no_stable and not no_worse_than_stable:
        raise UsageError("--allow-no-stable: has no effect without --no-worse-than-stable")
    finished = Run(run)
    if again := published_version(finished, repository, model):
        print(f"model   {again} holds this run already; `promote` moves labels")
        return 0
    gates = Gates(min_accuracy, no_worse_than_stable, allow_no_stable)
    added = add(finished, repository, model, Label(label, share) if label else None, gates)
    print(f"model   {added}")
    if versions(added.parent) == [int(added.name)]:
        print(f"new     {added.parent.name} is a new model in {repository}")
    if label:
        print(f"label   {label}" + (f" with {share:.0%} of the requests" if share is not None else ""))
    return 0


def promote(  # noqa: PLR0913  # each is a flag
    *,
    repository: Path,
    model: str = "digits",
    version: int | None = None,
    from_label: str = "canary",
    label: str = "stable",
    share: Fraction | None = None,
) -> int:
    """Make a label point at a version: stable at the one labelled canary, if nothing else is said.

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

    """
    folder = existing_model(repository, model)
    if version is None:
        version = labels(folder).get(from_label)
        if version is None:
            raise TrainerError(f"{folder}: no label {from_label}; label a version or give --version")
    before = point(folder, label, version, share)
    print(f"{label}  {model} {version}" + (f" (was {before})" if before not in {None, version} else ""))
    return 0


def rollback(*, repository: Path, model: str = "digits", label: str = "stable") -> int:
    """Make a label point where it pointed before it was last moved.

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
