"""What should answer for a model, worked out from what is on disk: no files, no clocks, no state."""

from collections.abc import Container, Mapping
from dataclasses import dataclass

from server.labels import Label
from server.policy import Policy
from server.repository import ModelFolder


@dataclass(frozen=True, slots=True)
class Plan:
    """The versions that should serve, newest first, the labels that point at them, and what is wrong."""

    versions: list[int]
    labels: dict[str, Label]
    problems: list[str]


def plan(found: ModelFolder, policy: Policy, refused: Container[int], labels: Mapping[str, Label]) -> Plan:
    """Choose among the versions on disk that are not refused.

    Those that the policy asks for, and those that a label points at: what is promoted must not depend on how
    many versions were published since. A version on trial does not count among the latest. A label that cannot be followed stays where `labels`, the ones in force,
    have it, as long as that version can serve.
    """
    usable = [version for version in found.versions if version not in refused]
    followed: dict[str, Label] = {}
    problems = list(found.problems)
    for name, label in (labels if found.labels is None else found.labels).items():
        reason = _obstacle(label.version, found, policy, usable)
        if reason:
            problems.append(f"label {name!r} points at version {label.version}, which {reason}")
            previous = labels.get(name)
            if previous is None or _obstacle(previous.version, found, policy, usable):
                continue
            followed[name] = previous
        else:
            followed[name] = label
    trials = {label.version for label in followed.values() if label.share is not None}
    settled = [version for version in usable if version not in trials]
    wanted = {*policy.choose(settled), *(label.version for label in followed.values())}
    return Plan(sorted(wanted, reverse=True), followed, problems)


def _obstacle(version: int, found: ModelFolder, policy: Policy, usable: list[int]) -> str:
    if version not in found.versions:
        return "does not exist"
    if not policy.allows(version):
        return f"the policy {policy} does not serve"
    return "" if version in usable else "is refused"
