"""Loading of a version on a thread of its own; models loaded and unloaded by callers (Triton's control)."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import structlog

from server.batching.batcher import Batcher
from server.errors import RefusedError
from server.machine import give_way
from server.model.manifest import VersionFiles
from server.model.model import Model
from server.model.session import Runtime, choose_provider
from server.model.tuning import prefers_int8
from server.settings import Settings
from server.versions.model_versions import Load
from server.versions.registry import Then
from server.versions.served_model import Serving

Folder = TypeVar("Folder")

log = structlog.get_logger()


class StoppingError(Exception):
    """Ends a running verification when the server stops."""


class Loader:
    """Loads versions by the settings; thread-safe."""

    def __init__(self, settings: Settings, make_batcher: Callable[[Model], Batcher]) -> None:
        self._root = settings.model_repository
        self._max_batch_images = settings.max_batch_images
        self._make_batcher = make_batcher
        provider = choose_provider(settings.provider)
        int8 = prefers_int8(provider, settings.precision)
        self._runtime = Runtime(provider, settings.provider_options, int8)
        self.beside = False  # whether calls are served meanwhile, which a load must not slow down
        self.stopping = False

    def load(self, name: str, load: Load) -> Serving:
        """Return the version with a batcher; if its files were only touched, the one that already serves.

        Raises:
            RefusedError: the version cannot be verified.
            StoppingError: `stopping` was set.

        """
        try:
            files = VersionFiles.read(self._root / name / str(load.version), self._root)
            if load.loaded is not None and load.loaded.model.manifest_sha256 == files.sha256:
                return load.loaded
            model = Model.load(
                files,
                runtime=self._runtime,
                max_batch_images=self._max_batch_images,
                between_runs=self._between_runs,
            )
            serving = Serving(model, self._make_batcher(model))
        except (RefusedError, StoppingError):
            raise
        except Exception as error:
            log.exception("version cannot be loaded", model=name, version=load.version)
            raise RefusedError(f"cannot be loaded: {type(error).__name__}") from None
        accuracy, provider = model.graph.test_accuracy, model.provider
        facts = {"precision": model.precision, "accuracy": accuracy, "provider": provider}
        log.info("version loaded", model=name, version=load.version, **facts)
        return serving

    def _between_runs(self) -> None:
        if self.stopping:
            raise StoppingError
        if self.beside:
            give_way()


class ModelControl:
    """The unloaded models, and callers that wait for a change to take effect."""

    def __init__(self) -> None:
        self._unloaded: set[str] = set()
        self._asked: dict[str, list[tuple[float, Then]]] = {}

    def ask(self, name: str, load: bool, then: Then) -> None:
        """Load or unload a model at the next scan of the repository."""
        (self._unloaded.discard if load else self._unloaded.add)(name)
        self._asked.setdefault(name, []).append((time.monotonic(), then))

    def wanted(self, found: Mapping[str, Folder]) -> dict[str, Folder]:
        """Return the models on disk that are not unloaded."""
        return {name: folder for name, folder in found.items() if name not in self._unloaded}

    def answer(self, scanned: float, failure: Callable[[str], str | None]) -> None:
        """Answer the changes that were requested before a scan started.

        `failure` returns why a model does not serve: empty if it serves, None while it is loading.
        """
        for name, asked in list(self._asked.items()):
            problem = "" if name in self._unloaded else failure(name)
            if problem is None:
                continue
            for _, then in (due := [each for each in asked if each[0] < scanned]):
                then(problem)
            if left := asked[len(due) :]:
                self._asked[name] = left
            else:
                del self._asked[name]
