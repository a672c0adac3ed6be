"""The registry: known models and their serving versions."""

from collections.abc import Callable, Mapping

import structlog

from protos.digits.v1 import prediction_pb2 as pb
from server.batching.batcher import Batcher
from server.errors import NotFoundError, UnavailableError, quoted
from server.observability.metrics import Metrics
from server.versions.served_model import ServedModel, Serving, listed

# Fraction of the golden ratio: multiples of it are spread evenly over 0-1, without a period.
EVEN_STEP = 0.6180339887498949

# Called once on any thread, with the error or an empty string.
Then = Callable[[str], None]

log = structlog.get_logger()


class Registry:
    """Immutable snapshots of the models, swapped by reference: a call keeps the version it found.

    The data plane reads; one thread of the control plane writes, and calls `on_change` after every change.
    """

    def __init__(self, default_model: str, metrics: Metrics) -> None:
        self.default_model = default_model
        self.on_change: Callable[[], None] = lambda: None
        # Set if callers may load (true) and unload models.
        self.change_model: Callable[[str, bool, Then], None] | None = None
        self._metrics = metrics
        self.models: Mapping[str, ServedModel] = {}  # by name; replaced as a whole
        self._positions: dict[str, float] = {}
        self._state = "starting"

    def replace(self, served: ServedModel) -> None:
        """Add a model, or replace its serving versions."""
        before = self.models.get(served.name, ServedModel(served.name))
        self.models = {**self.models, served.name: served}
        servings = self._servings()
        self._metrics.watch([serving.batcher for serving in servings])
        self._metrics.serving({serving.info for serving in servings})
        self._metrics.labelled(
            {
                (each.name, name, str(label.version)): label.share
                for each in self.models.values()
                for name, label in each.labels.items()
            }
        )
        if (list(before.versions), before.labels) != (list(served.versions), served.labels):
            labels = {name: label.version for name, label in served.labels.items()}
            log.info("versions serve", model=served.name, versions=list(served.versions), labels=labels)
        self.on_change()

    def open(self) -> None:
        """Start to accept calls."""
        self._state = "open"
        self.on_change()

    def refuse(self) -> None:
        """Answer UNAVAILABLE to new calls; those in flight continue."""
        self._state = "stopping"
        self.on_change()

    def find(self, name: str, version: int = 0, label: str = "") -> Serving:
        """Return the version for one request; empty or 0 means the server's default.

        Call it for each request and queue the images at once: a version that was swapped out finishes its
        queue and is released. Only for the data plane's thread.

        Raises:
            UnavailableError: no model is loaded yet, or the server is stopping.
            NotFoundError: no such model, version or label.
            InvalidRequestError: both version and label are given.

        """
        served = self.model(name)
        if version or label:
            return served.named(version, label)
        if not served.trials:
            return served.settled()
        # One position per model: calls of other models in between would make shares uneven.
        position = (self._positions.get(served.name, 0.0) + EVEN_STEP) % 1
        self._positions[served.name] = position
        return served.choose(position)

    def model(self, name: str) -> ServedModel:
        """Return the versions of a model; an empty name means the default model.

        Raises:
            UnavailableError: no model is loaded yet, or the server is stopping.
            NotFoundError: no such model.

        """
        if self._state != "open":
            raise UnavailableError(f"the server is {self._state}")
        served = self.models.get(name or self.default_model)
        if served is None:
            available = listed(sorted(self.models))
            raise NotFoundError(f"no model {quoted(name or self.default_model)}; available: {available}")
        return served

    def serves(self, name: str) -> bool:
        """Tell whether any version of a model serves."""
        served = self.models.get(name)
        return served is not None and any(each.batcher.alive for each in served.versions.values())

    def describe(self) -> list[pb.Model]:
        """Return all versions of all models, serving ones first."""
        return [message for served in self.models.values() for message in served.describe()]

    @property
    def states(self) -> dict[str, bool]:
        """Whether each known model serves, by name."""
        return {name: self._state != "starting" and self.serves(name) for name in self.models}

    @property
    def ready(self) -> bool:
        """Whether the default model serves."""
        return self._state != "starting" and self.serves(self.default_model)

    @property
    def alive(self) -> bool:
        """Whether the batchers of all serving versions run."""
        return all(serving.batcher.alive for serving in self._servings())

    @property
    def batchers(self) -> dict[str, Batcher]:
        """The batchers of all serving versions, by model/version."""
        return {f"{each.model.name}/{each.model.version}": each.batcher for each in self._servings()}

    @property
    def inflight_images(self) -> int:
        """Number of accepted images that are not answered yet."""
        return sum(serving.batcher.inflight_images for serving in self._servings())

    def _servings(self) -> list[Serving]:
        return [serving for served in self.models.values() for serving in served.versions.values()]
