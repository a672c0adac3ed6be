"""One model on its way from what is on disk to what answers."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import structlog

from protos.digits.v1 import prediction_pb2 as pb
from server.labels import Label
from server.manifest import RefusedError
from server.plan import Plan, plan
from server.policy import Policy
from server.repository import Fingerprint, ModelFolder
from server.roster import Roster, Serving

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Loaded:
    fingerprint: Fingerprint
    serving: Serving


@dataclass(frozen=True, slots=True)
class _Refused:
    fingerprint: Fingerprint
    reason: str


class Rollout:
    """What was loaded and what was refused of one model, so that nothing is tried twice."""

    def __init__(self, name: str, policy: Policy, load: Callable[[int], Awaitable[Serving]]) -> None:
        self._name = name
        self._policy = policy
        self._load = load
        self._loaded: dict[int, _Loaded] = {}
        self._refused: dict[int, _Refused] = {}
        self._labels: dict[str, Label] = {}
        self._unused: list[Serving] = []

    def forget_refusals(self) -> None:
        """Try again what was refused, even if its files are the same."""
        self._refused.clear()

    async def settle(self, found: ModelFolder) -> tuple[Roster, list[Serving], list[str]]:
        """Load what should serve and does not; return who answers from now on.

        With it, the versions that answer no more, which the caller closes once the roster is in force, and
        what is wrong on disk. What is loaded keeps answering until then.
        """
        while True:
            target = self._plan(found)
            missing = [version for version in target.versions if not self._tried(version, found)]
            if not missing:
                break
            await self._try(missing[0], found.versions[missing[0]])  # a refusal changes the plan
        self._unused += [
            self._loaded.pop(version).serving for version in set(self._loaded) - set(target.versions)
        ]
        self._refused = {v: refused for v, refused in self._refused.items() if v in found.versions}
        self._labels = target.labels
        unused, self._unused = self._unused, []
        versions = {version: loaded.serving for version, loaded in self._loaded.items()}
        roster = Roster.of(self._name, versions, target.labels, self._others(found))
        refusals = [f"version {version}: {each.reason}" for version, each in self._refused.items()]
        return roster, unused, [*target.problems, *refusals]

    def _plan(self, found: ModelFolder) -> Plan:
        refused = {
            version
            for version, each in self._refused.items()
            if each.fingerprint == found.versions.get(version) and version not in self._loaded
        }
        return plan(found, self._policy, refused, self._labels)

    def _tried(self, version: int, found: ModelFolder) -> bool:
        states = [each[version].fingerprint for each in (self._loaded, self._refused) if version in each]
        return found.versions[version] in states

    async def _try(self, version: int, fingerprint: Fingerprint) -> None:
        try:
            serving = await self._load(version)
        except RefusedError as error:
            reason = str(error)
        except Exception as error:
            log.exception("version cannot be loaded", model=self._name, version=version)
            reason = f"cannot be loaded: {type(error).__name__}"
        else:
            if version in self._loaded:
                self._unused.append(self._loaded[version].serving)
            self._loaded[version] = _Loaded(fingerprint, serving)
            self._refused.pop(version, None)
            return
        log.warning("version refused", model=self._name, version=version, reason=reason)
        self._refused[version] = _Refused(fingerprint, reason)

    def _others(self, found: ModelFolder) -> tuple[pb.Model, ...]:
        others = []
        for version in found.versions:
            if version in self._refused:
                state, reason = pb.Model.STATE_REFUSED, self._refused[version].reason
            elif version not in self._loaded:
                state, reason = pb.Model.STATE_AVAILABLE, ""
            else:
                continue
            others.append(pb.Model(name=self._name, version=version, state=state, reason=reason))
        return tuple(others)
