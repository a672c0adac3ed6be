"""One model between the repository and the registry: which versions are loaded, loading and refused."""

from dataclasses import dataclass, replace

from protos.digits.v1 import prediction_pb2 as pb
from server.versions.policy import Plan, Policy, plan
from server.versions.repository import Fingerprint, Label, ModelFolder
from server.versions.served_model import ServedModel, Serving

# Loads under way of one model: one, and those that hang and are not wanted any more.
MAX_LOADS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """A version to load, in one state of its files; `loaded` is what serves of an earlier state."""

    version: int
    fingerprint: Fingerprint
    loaded: Serving | None


class ModelVersions:
    """The state of one model; nothing is tried twice. It does nothing itself: no threads, files or clocks."""

    def __init__(self, name: str, policy: Policy) -> None:
        self._name = name
        self._policy = policy
        self.found = ModelFolder()
        self._loaded: dict[int, tuple[Fingerprint, Serving]] = {}
        self._refused: dict[int, tuple[Fingerprint, str]] = {}  # with the reason
        self._labels: dict[str, Label] = {}
        self._unused: list[Serving] = []
        self._load: Load | None = None
        self._loads = 0

    @property
    def pending(self) -> bool:
        """Whether a version that should serve is not loaded yet."""
        return bool(self._missing(self._target()))

    def forget_refusals(self) -> None:
        """Try again what was refused, even if its files are the same."""
        self._refused.clear()

    def next_load(self) -> Load | None:
        """Return the load to start now; the caller ends it with `loaded` or `refused`.

        One at a time: a refusal changes what should serve. A load that is not wanted any more, be it that it
        hangs, does not hold up the next one.
        """
        missing = self._missing(self._target())
        if self._load is not None and self._load.version in missing:
            return None
        self._load = None
        if not missing or self._loads == MAX_LOADS:
            return None
        version = missing[0]
        _, before = self._loaded.get(version, (None, None))
        self._load = Load(version, self.found.versions[version], before)
        self._loads += 1
        return self._load

    def loaded(self, load: Load, serving: Serving) -> None:
        """End a load; `serving` may be what served before, if the files have the same content."""
        if not self._end(load):
            if serving is not load.loaded:
                self._unused.append(serving)
            return
        if load.loaded is not None and load.loaded is not serving:
            self._unused.append(load.loaded)
        self._loaded[load.version] = load.fingerprint, serving
        self._refused.pop(load.version, None)

    def refused(self, load: Load, reason: str) -> None:
        """End a load of a version that may not serve."""
        if self._end(load):
            self._refused[load.version] = load.fingerprint, reason

    def settle(self) -> tuple[ServedModel, list[Serving], list[str]]:
        """Return what serves from now on, the versions that serve no more, and what is wrong on disk.

        While a load is under way, everything that is loaded goes on serving, and labels move among that.
        """
        target = self._target()
        if self._missing(target):
            known = {version: state for version, (state, _) in self._loaded.items()} | self.found.versions
            folder = replace(self.found, versions=dict(sorted(known.items(), reverse=True)))
            unusable = known.keys() - self._loaded.keys()
            self._labels = plan(folder, self._policy, unusable, self._labels).labels
        else:
            gone = self._loaded.keys() - set(target.versions)
            self._unused += [self._loaded.pop(version)[1] for version in gone]
            self._labels = target.labels
        self._refused = {v: refused for v, refused in self._refused.items() if v in self.found.versions}
        versions = {version: serving for version, (_, serving) in self._loaded.items()}
        served = ServedModel.of(self._name, versions, self._labels, self._others())
        unused, self._unused = self._unused, []
        refusals = [f"version {version}: {reason}" for version, (_, reason) in self._refused.items()]
        return served, unused, [*target.problems, *refusals]

    def _target(self) -> Plan:
        refused = {
            version
            for version, (state, _) in self._refused.items()
            if state == self.found.versions.get(version) and version not in self._loaded
        }
        return plan(self.found, self._policy, refused, self._labels)

    def _missing(self, target: Plan) -> list[int]:
        """Return the versions of a plan whose files, as they are now, were not tried yet; newest first."""
        tried = [*self._loaded.items(), *self._refused.items()]
        known = {(version, state) for version, (state, _) in tried}
        return [
            version for version in target.versions if (version, self.found.versions[version]) not in known
        ]

    def _end(self, load: Load) -> bool:
        self._loads -= 1
        wanted = load is self._load
        if wanted:
            self._load = None
        return wanted

    def _others(self) -> tuple[pb.Model, ...]:
        others = []
        for version in self.found.versions:
            if version in self._refused:
                state, reason = pb.Model.STATE_REFUSED, self._refused[version][1]
            elif version not in self._loaded:
                state, reason = pb.Model.STATE_AVAILABLE, ""
            else:
                continue
            others.append(pb.Model(name=self._name, version=version, state=state, reason=reason))
        return tuple(others)
