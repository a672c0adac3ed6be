"""The state of one model: which versions are loaded, loading and refused."""

from dataclasses import dataclass, replace

from protos.digits.v1 import prediction_pb2 as pb
from server.versions.policy import Plan, Policy, plan
from server.versions.repository import Fingerprint, Label, ModelFolder
from server.versions.served_model import ServedModel, Serving

# Maximum number of loads of one model at a time: one, and obsolete ones that hang.
MAX_LOADS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Load:
    """A version to load, in one state of its files; `loaded` serves an earlier state."""

    version: int
    fingerprint: Fingerprint
    loaded: Serving | None


class ModelVersions:
    """A state machine without threads, files or clocks; no state of files is loaded twice."""

    def __init__(self, name: str, policy: Policy) -> None:
        self._name = name
        self._policy = policy
        self.found = ModelFolder()
        self._loaded: dict[int, tuple[Fingerprint, Serving]] = {}
        self._refused: dict[int, tuple[Fingerprint, str]] = {}  # with their reasons
        self._labels: dict[str, Label] = {}
        self._unused: list[Serving] = []
        self._load: Load | None = None
        self._loads = 0

    @property
    def pending(self) -> bool:
        """Whether a wanted version is not loaded yet."""
        return bool(self._missing(self._target()))

    def forget_refusals(self) -> None:
        """Retry refused versions, even if their files are unchanged."""
        self._refused.clear()

    def next_load(self) -> Load | None:
        """Return the load to start now; the caller ends it with `loaded` or `refused`.

        One at a time, since a refusal may change the wanted versions. An obsolete load that hangs does not
        block the next one.
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
        """End a load; `serving` is unchanged if the files have the same contents."""
        if not self._end(load):
            if serving is not load.loaded:
                self._unused.append(serving)
            return
        if load.loaded is not None and load.loaded is not serving:
            self._unused.append(load.loaded)
        self._loaded[load.version] = load.fingerprint, serving
        self._refused.pop(load.version, None)

    def refused(self, load: Load, reason: str) -> None:
        """End the load of a refused version."""
        if self._end(load):
            self._refused[load.version] = load.fingerprint, reason

    def settle(self) -> tuple[ServedModel, list[Serving], list[str]]:
        """Return the versions to serve, the versions to release, and the problems on disk.

        During a load, everything that is loaded continues to serve, and labels only point at that.
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
        """Return the wanted versions whose files were not tried in their present state; newest first."""
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
