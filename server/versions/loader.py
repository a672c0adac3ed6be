"""Loading of a version, on a thread of its own: read, load, verify, build its batcher."""

from collections.abc import Callable

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
from server.versions.served_model import Serving

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
