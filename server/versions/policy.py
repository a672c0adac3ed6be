"""Version policies: which of the versions on disk should serve."""

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
    """The newest `latest` versions (None: all), or only the `specific` ones."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def allows(self, version: int) -> bool:
        """Tell whether a label may add `version`: always, unless only specific ones are wanted."""
        return not self.specific or version in self.specific

    def choose(self, versions: Sequence[int]) -> list[int]:
        """Return the wanted ones of `versions`, which are newest first."""
        if self.specific:
            return [version for version in versions if version in self.specific]
        return list(versions[: self.latest])

    def __str__(self) -> str:
        if self.specific:
            return f"specific:{','.join(map(str, sorted(self.specific)))}"
        return "all" if self.latest is None else f"latest:{self.latest}"


def parse_policies(texts: Iterable[str]) -> dict[str, Policy]:
    """Read policies, each `[MODEL=]latest:N`, `[MODEL=]all` or `[MODEL=]specific:V,V`.

    Returns them by model; that of all other models has the key "".

    Raises:
        StartError: a policy is invalid, or a model has two.

    """
    policies: dict[str, Policy] = {}
    for text in texts:
        found = _POLICY.fullmatch(text)
        if found is None:
            raise StartError(
                f"{text!r} is not a version policy, expected latest:N, all or specific:V,V, "
                "for one model with MODEL= before it"
            )
        model = found["model"] or ""
        if model in policies:
            raise StartError(f"{text!r} is the second version policy of {model or 'all models'}")
        if found["specific"]:
            policies[model] = Policy(specific=frozenset(map(int, found["specific"].split(","))))
        else:
            policies[model] = Policy(latest=None if found["all"] else int(found["latest"]))
    return {"": Policy()} | policies


@dataclass(frozen=True, slots=True)
class Plan:
    """The versions that should serve, newest first, their labels, and problems."""

    versions: list[int]
    labels: dict[str, Label]
    problems: list[str]


def plan(
    found: ModelFolder,
    policy: Policy,
    unusable: Container[int],
    labels: Mapping[str, Label],
) -> Plan:
    """Choose from the versions on disk that are not `unusable`.

    Labelled versions are added to those of the policy: a promotion must not depend on how many versions were
    published since. A version on trial does not count among the latest. A label whose version cannot serve
    keeps its present version (`labels`) as long as that can.
    """
    usable = [version for version in found.versions if version not in unusable]

    def obstacle(version: int) -> str:
        if version not in found.versions:
            return "does not exist"
        if not policy.allows(version):
            return f"the policy {policy} does not serve"
        return "" if version in usable else "is refused"

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
