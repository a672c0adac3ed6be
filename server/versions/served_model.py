"""The serving versions of one model, and the choice of one for a request."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice

from protos.digits.v1 import prediction_pb2 as pb
from server.batching.batcher import Batcher
from server.errors import InvalidRequestError, NotFoundError, quoted
from server.model.model import Model
from server.versions.repository import Label

# The label that unlabelled requests follow, if it exists.
STABLE = "stable"
# Names for the newest version in clients of other servers.
OTHERS_LATEST = ("latest", "-1")
# Status messages must fit into gRPC's 8 KiB of metadata.
MAX_LISTED = 10


@dataclass(frozen=True, slots=True)
class Serving:
    """A serving version and its batcher."""

    model: Model
    batcher: Batcher

    @property
    def info(self) -> tuple[str, ...]:
        """Model, version, sha256, provider, precision and accuracy for metrics."""
        model = self.model
        accuracy = f"{model.graph.test_accuracy:.4f}"
        return model.name, str(model.version), model.sha256, model.provider, model.precision, accuracy


@dataclass(frozen=True, slots=True)
class ServedModel:
    """The serving versions of one model; immutable."""

    name: str
    versions: dict[int, Serving] = field(default_factory=dict)  # newest first
    labels: dict[str, Label] = field(default_factory=dict)  # each points into `versions`
    default: Serving | None = None  # None if no version serves
    # Cumulative shares: a request at a position 0-1 goes to the first version whose bound is above it.
    trials: tuple[tuple[float, Serving], ...] = ()
    others: tuple[pb.Model, ...] = ()  # versions that do not serve

    @classmethod
    def of(
        cls,
        name: str,
        versions: Mapping[int, Serving],
        labels: Mapping[str, Label],
        others: tuple[pb.Model, ...] = (),
    ) -> "ServedModel":
        """Set the default version, `stable` or else the newest that is not on trial, and the shares."""
        newest_first = dict(sorted(versions.items(), reverse=True))
        on_trial = {label.version for label in labels.values() if label.on_trial}
        candidates = [
            *(label.version for label_name, label in labels.items() if label_name == STABLE),
            *(version for version in newest_first if version not in on_trial),
            *newest_first,
        ]
        bound, trials = 0.0, []
        for label in labels.values():
            if label.share:
                bound += label.share
                trials.append((bound, newest_first[label.version]))
        default = newest_first[candidates[0]] if candidates else None
        return cls(name, newest_first, dict(labels), default, tuple(trials), others)

    def choose(self, position: float) -> Serving:
        """Return the version for a request that names neither version nor label; `position` is 0-1.

        Raises:
            NotFoundError: no version serves.

        """
        for bound, serving in self.trials:
            if position < bound:
                return serving
        return self.settled()

    def settled(self) -> Serving:
        """Return the default version.

        Raises:
            NotFoundError: no version serves.

        """
        if self.default is None:
            reasons = [
                f"version {each.version}: {each.reason}" for each in self.others[:MAX_LISTED] if each.reason
            ]
            raise NotFoundError("; ".join([f"no version of model {quoted(self.name)} serves", *reasons]))
        return self.default

    def named(self, version: int, label: str) -> Serving:
        """Return the version with that number or label.

        Raises:
            NotFoundError: it does not serve.
            InvalidRequestError: both were given.

        """
        if version and label:
            raise InvalidRequestError(
                f"version {version} and label {quoted(label)} are both set, expected one of them"
            )
        if label:
            if label not in self.labels:
                hint = "; without a version, the server chooses" if label in OTHERS_LATEST else ""
                raise NotFoundError(
                    f"model {quoted(self.name)} has no label {quoted(label)}; "
                    f"available: {listed(sorted(self.labels))}{hint}"
                )
            return self.versions[self.labels[label].version]
        if version not in self.versions:
            raise NotFoundError(
                f"version {version} of model {quoted(self.name)} does not serve; "
                f"available: {listed(self.versions)}"
            )
        return self.versions[version]

    @property
    def shadow(self) -> tuple[Serving, Serving, float] | None:
        """The default version, its shadow candidate, and the share of images that both run."""
        for label in self.labels.values():
            candidate = self.versions[label.version]
            if label.shadow is not None and self.default is not None and self.default is not candidate:
                return self.default, candidate, label.shadow
        return None

    def describe(self) -> list[pb.Model]:
        """Return messages that describe all versions on disk, serving ones first."""
        return [*map(self.describe_one, self.versions.values()), *self.others]

    def describe_one(self, serving: Serving) -> pb.Model:
        """Return a message that describes a serving version."""
        model, manifest = serving.model, serving.model.manifest
        return pb.Model(
            name=model.name,
            version=model.version,
            state=pb.Model.STATE_SERVING,
            sha256=model.sha256,
            accuracy=model.graph.test_accuracy,
            provider=model.provider,
            precision=model.precision,
            recipe=manifest.recipe,
            created=manifest.created,
            labels=self.labels_of(serving),
            share=self._share(serving),
        )

    def labels_of(self, serving: Serving) -> list[str]:
        """Return the labels that point at a version."""
        return sorted(name for name, label in self.labels.items() if self.versions[label.version] is serving)

    def _share(self, serving: Serving) -> float:
        share, lower = 0.0, 0.0
        for bound, trial in self.trials:
            share += (bound - lower) * (trial is serving)
            lower = bound
        return share + (1 - lower) * (self.default is serving)


def listed(available: Iterable[object]) -> str:
    """Return the first MAX_LISTED names or versions as text for a message."""
    shown = [str(each) for each in islice(available, MAX_LISTED + 1)]
    return ", ".join(shown[:MAX_LISTED] + ["..."] * (len(shown) > MAX_LISTED)) or "none"
