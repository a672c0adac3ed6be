"""Version policies: which of a model's versions should serve, for the versions and labels on disk."""

import re
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import dataclass

from server.errors import StartError
from server.versions.repository import Label, ModelFolder

_POLICY = re.compile(
    r"(?:(?P<model>[^=]+)=)?(?:latest:(?P<latest>[1-9][0-9]{0,17})|(?P<all>all)|specific:(?P<specific>[1-9][0-9]{0,17}(?:,[1-9][0-9]{0,17})*))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The newest `latest` versions (None: all of them), or `specific` ones and no others."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def allows(self, version: int) -> bool:
        """Tell whether a label may ask for `version`: always, unless only specific ones are wanted."""
        return not self.specific or version in self.specific

    def choose(self, versions: Sequence[int]) -> list[int]:
        """Return those of `versions`, newest first, that are wanted."""
        if self.specific:
            return [version for version in versions if version in self.specific]
        return list(versions[: self.latest])

    def __str__(self) -> str:
        if self.specific:
            return f"specific:{','.join(map(str, sorted(self.specific)))}"
        return "all" if self.latest is None else f"latest:{self.latest}"


@dataclass(frozen=True, slots=True)
class Policies:
    """One policy for each model that has its own, and one for the others."""

    default: Policy
    models: dict[str, Policy]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Policies":
        """Read policies, each `[MODEL=]latest:N`, `[MODEL=]all` or `[MODEL=]specific:V,V`.

        Raises:
            StartError: one is neither, or a model has two.

        """
        policies: dict[str, Policy] = {}
        for text in texts:
            found = _POLICY.fullmatch(text)
            if found is None:
                raise StartError(
                    f"{text!r} is no version policy, expected latest:N, all or specific:V,V, "
                    "for one model with MODEL= before it"
                )
            model = found["model"] or ""
            if model in policies:
                raise StartError(f"{text!r} is the second version policy of {model or 'all models'}")
            if found["specific"]:
                policies[model] = Policy(specific=frozenset(map(int, found["specific"].split(","))))
            else:
                policies[model] = Policy(latest=None if found["all"] else int(found["latest"]))
        return cls(policies.pop("", Policy()), policies)

    def of(self, model: str) -> Policy:
        """Return the policy of a model."""
        return self.models.get(model, self.default)


@dataclass(frozen=True, slots=True)
class Plan:
    """The versions that should serve, newest first, the labels that point at them, and what is wrong."""

    versions: list[int]
    labels: dict[str, Label]
    problems: list[str]


def plan(
    found: ModelFolder,
    policy: Policy,
    unusable: Container[int],
    labels: Mapping[str, Label],
    why: str = "is refused",
) -> Plan:
    """Choose among the versions on disk that are not `unusable`.

    Those that the policy asks for, and those that a label points at: what is promoted must not depend on how
    many versions were published since. A version on trial does not count among the latest. A label that
    cannot be followed stays where `labels`, those in force, have it, as long as that version can serve.
    """
    usable = [version for version in found.versions if version not in unusable]

    def obstacle(version: int) -> str:
        if version not in found.versions:
            return "does not exist"
        if not policy.allows(version):
            return f"the policy {policy} does not serve"
        return "" if version in usable else why

    followed: dict[str, Label] = {}
    problems = list(found.problems)
    for name, label in (labels if found.labels is None else found.labels).items():
        if reason := obstacle(label.version):
            problems.append(f"label {name!r} points at version {label.version}, which {reason}")
            previous = labels.get(name)
            if previous is not None and not obstacle(previous.version):
                followed[name] = previous
        else:
            followed[name] = label
    trials = {label.version for label in followed.values() if label.on_trial}
    settled = [version for version in usable if version not in trials]
    wanted = {*policy.choose(settled), *(label.version for label in followed.values())}
    return Plan(sorted(wanted, reverse=True), followed, problems)
