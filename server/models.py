"""The models that the server knows: which version of each answers, and which were refused."""

import asyncio
from dataclasses import dataclass
from pathlib import Path

import structlog

from protos.digits.v1 import prediction_pb2 as pb
from server import repository
from server.batcher import Batcher
from server.errors import InvalidRequestError, NotFoundError, StartError, UnavailableError
from server.manifest import RefusedError
from server.metrics import Metrics
from server.model import Model
from server.settings import Settings

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Serving:
    """A version that answers, and the queue in front of it."""

    model: Model
    batcher: Batcher

    def describe(self) -> pb.Model:
        """Return what the wire says of this version."""
        manifest = self.model.manifest
        return pb.Model(
            name=manifest.model,
            version=manifest.version,
            state=pb.Model.STATE_SERVING,
            sha256=self.model.sha256,
            accuracy=manifest.test_accuracy,
            provider=self.model.provider,
            recipe=manifest.recipe,
            created=manifest.created,
        )


class Models:
    """What the repository holds, with the newest version of each model that verifies serving."""

    def __init__(self, default: str, metrics: Metrics) -> None:
        self._default = default
        self._metrics = metrics
        self._serving: dict[str, Serving] = {}
        self._others: list[pb.Model] = []
        self._refusing = False

    async def load(self, settings: Settings) -> None:
        """Load the newest version that verifies of every model in the repository.

        Raises:
            StartError: the repository cannot be read, or no version of the default model may serve.

        """
        root = settings.model_repository
        for name, versions in repository.models(root).items():
            for version in versions:
                if name in self._serving:
                    self._others.append(pb.Model(name=name, version=version, state=pb.Model.STATE_AVAILABLE))
                    continue
                await self._load(root / name / str(version), settings)
        self._metrics.watch([serving.batcher for serving in self._serving.values()])
        if self._default not in self._serving:
            raise StartError(self._missing(root))

    async def _load(self, folder: Path, settings: Settings) -> None:
        name, version = folder.parent.name, int(folder.name)
        try:
            model = await asyncio.to_thread(
                Model.load,
                folder,
                threads=settings.model_threads,
                warm_batch_images=settings.max_batch_images,
            )
        except RefusedError as error:
            reason = str(error)
            log.warning("version refused", model=name, version=version, reason=reason)
            self._metrics.refused()
            self._others.append(
                pb.Model(name=name, version=version, state=pb.Model.STATE_REFUSED, reason=reason)
            )
            return
        accuracy = model.manifest.test_accuracy
        self._serving[name] = Serving(
            model,
            Batcher(
                model,
                self._metrics.loaded(name, version, model.sha256, model.provider, accuracy),
                max_batch_images=settings.max_batch_images,
                max_queue_images=settings.max_queue_images,
            ),
        )
        log.info("version serves", model=name, version=version, accuracy=accuracy, provider=model.provider)

    def _missing(self, root: Path) -> str:
        refused = [
            f"version {model.version}: {model.reason}"
            for model in self._others
            if model.name == self._default
        ]
        if refused:
            return f"no version of model {self._default!r} in {root} may serve: {'; '.join(refused)}"
        found = ", ".join(repository.models(root)) or "no models"
        return f"model repository {root} has no model {self._default!r}, it has {found}"

    @property
    def names(self) -> list[str]:
        """The models that serve."""
        return list(self._serving)

    @property
    def inflight_images(self) -> int:
        """How many images are accepted and not answered yet."""
        return sum(serving.batcher.inflight_images for serving in self._serving.values())

    @property
    def alive(self) -> bool:
        """Whether every model's batcher runs."""
        return all(serving.batcher.alive for serving in self._serving.values())

    def find(self, name: str, version: int = 0, label: str = "") -> Serving:
        """Return what answers for a model, by name and optionally version; empty or 0 is the default.

        Raises:
            UnavailableError: no model is loaded yet, or the server is stopping.
            NotFoundError: no such model, version or label.
            InvalidRequestError: both version and label are given.

        """
        if not self._serving or self._refusing:
            raise UnavailableError(f"the server is {'stopping' if self._refusing else 'starting'}")
        serving = self._serving.get(name or self._default)
        if serving is None:
            raise NotFoundError(f"no model {name!r}, there is {', '.join(self._serving)}")
        if version and label:
            raise InvalidRequestError(
                f"version {version} and label {label!r} are both set, expected one of them"
            )
        if version and version != serving.model.version:
            raise NotFoundError(
                f"model {serving.model.name!r} serves version {serving.model.version}, not {version}"
            )
        if label:
            raise NotFoundError(f"model {serving.model.name!r} has no label {label!r}")
        return serving

    def describe(self) -> list[pb.Model]:
        """Return every version: those that serve, then the rest."""
        return [*(serving.describe() for serving in self._serving.values()), *self._others]

    def refuse(self) -> None:
        """Answer UNAVAILABLE to new calls from now on; those in flight go on."""
        self._refusing = True

    async def close(self) -> None:
        """Finish every queue and let go of the models."""
        for serving in self._serving.values():
            await serving.batcher.close()
        self._serving.clear()
