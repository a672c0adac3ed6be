"""The reconciler brings the registry in line with the repository, without blocking the data plane.

Operations that may hang (a scan of a mount, a load) run on daemon threads and send their results to the
reconciler's thread, which owns all state and only waits for the next result.
"""

import threading
import time
from collections.abc import Callable
from functools import partial
from queue import SimpleQueue

import structlog

from server.batching.batcher import Batcher
from server.errors import RefusedError, StartError, quoted
from server.machine import return_memory
from server.model.model import Model
from server.observability.metrics import Metrics
from server.observability.table import MODEL_LOADS, PROBLEMS
from server.settings import DEFAULT_MODEL, Settings
from server.versions.loader import Loader, ModelControl, StoppingError
from server.versions.model_versions import Load, ModelVersions
from server.versions.policy import parse_policies
from server.versions.registry import Registry, Then
from server.versions.repository import ModelFolder, RepositoryError, scan
from server.versions.served_model import Serving

# A model whose load hangs delays the start by at most this, unless it is the default model.
MAX_OTHERS_SECONDS = 10.0

log = structlog.get_logger()


class Reconciler:
    """Scans the repository every `repository_poll_seconds` and on `wake`; loads and swaps versions.

    `make_batcher` is called on a load's thread; `call_soon` runs a function on the data plane's thread.
    `beside` says that other processes already serve, which loads must not slow down.
    """

    def __init__(  # noqa: PLR0913 - what the reconciler connects
        self,
        settings: Settings,
        registry: Registry,
        metrics: Metrics,
        *,
        make_batcher: Callable[[Model], Batcher],
        call_soon: Callable[[Callable[[], None]], None],
        beside: bool = False,
    ) -> None:
        self._settings = settings
        self._registry = registry
        self._metrics = metrics
        self._call_soon = call_soon
        self._loader = Loader(settings, make_batcher)
        self._loader.beside = beside
        self._policies = parse_policies(settings.version_policy)
        self._versions: dict[str, ModelVersions] = {}
        self._control = ModelControl()
        self._scanned = 0.0  # when the last scan started, monotonic seconds
        self._problems: dict[str, list[str]] = {}
        self._reported: set[str] = set()
        self._events: SimpleQueue[Callable[[], None]] = SimpleQueue()
        self._woken = threading.Event()
        self._closed = threading.Event()
        self._failure = ""
        self._loading: list[str] = []
        self._default_settled = threading.Event()
        self._all_settled = threading.Event()

    def start(self) -> None:
        """Load the versions that should serve, and follow the repository from then on.

        Raises:
            StartError: the repository cannot be read, the default model has no version, or it was closed.

        """
        for name, work in (("reconciler", self._handle_events), ("repository scan", self._scan)):
            threading.Thread(target=work, name=name, daemon=True).start()
        self._default_settled.wait()
        if not self._failure and not self._all_settled.wait(MAX_OTHERS_SECONDS):
            log.warning("models still loading", models=self._loading)
        if self._failure or self._closed.is_set():
            self.close()
            raise StartError(self._failure or "the server is stopping")
        self._loader.beside = True

    def wake(self) -> None:
        """Scan the repository now, and retry refused versions."""
        self._events.put(self._forget_refusals)
        self._woken.set()

    def change(self, name: str, load: bool, then: Then) -> None:
        """Load or unload a model until the next such call; call `then` once it is done or has failed."""
        self._events.put(partial(self._control.ask, name, load, then))
        self.wake()

    def close(self) -> None:
        """Stop following the repository, without waiting."""
        self._closed.set()
        self._loader.stopping = True
        for event in (self._woken, self._default_settled, self._all_settled):
            event.set()
        self._events.put(lambda: None)

    def _scan(self) -> None:
        while not self._closed.is_set():
            began = time.monotonic()
            try:
                found = scan(self._settings.model_repository)
            except RepositoryError as error:
                self._events.put(partial(self._unreadable, str(error)))
            except Exception as error:
                log.exception("scan of the repository failed")
                self._events.put(partial(self._unreadable, f"scan failed: {type(error).__name__}"))
            else:
                self._events.put(partial(self._reconcile, found, began))
            self._woken.wait(self._settings.repository_poll_seconds or None)
            self._woken.clear()

    def _handle_events(self) -> None:
        while not self._closed.is_set():
            try:
                self._events.get()()  # unnamed: a name would keep a model alive until the next event
            except Exception:
                log.exception("reconciling failed")
                self._fail("repository cannot be reconciled")

    def _forget_refusals(self) -> None:
        for versions in self._versions.values():
            versions.forget_refusals()

    def _unreadable(self, problem: str) -> None:
        self._problems = {"": [problem]}
        self._report()
        self._fail(problem)

    def _reconcile(self, found: dict[str, ModelFolder], scanned: float) -> None:
        """Bring every model in line with the repository."""
        self._problems = {}
        self._scanned = scanned
        found = self._control.wanted(found)
        if not self._versions and not self._choose_default(found):
            return
        for name in sorted(found.keys() | self._versions.keys()):
            folder = found.get(name, ModelFolder())
            if name not in self._versions:
                self._versions[name] = ModelVersions(name, self._policies.get(name, self._policies[""]))
            if folder.readable:
                self._versions[name].found = folder
            self._advance(name)
            if not folder.readable:  # serving versions continue to serve
                self._problems[name] = [f"model {name!r}: {problem}" for problem in folder.problems]
        self._conclude()

    def _choose_default(self, found: dict[str, ModelFolder]) -> bool:
        only = next(iter(found)) if len(found) == 1 else DEFAULT_MODEL
        default = self._settings.default_model or only
        if default in found:
            self._registry.default_model = default
            return True
        self._fail(
            f"model repository {self._settings.model_repository} has no model {default!r}; available: "
            f"{', '.join(found)}; the setting default_model names the one for requests that name none"
        )
        return False

    def _advance(self, name: str) -> None:
        """Start the next load of a model, and swap in its loaded versions."""
        versions = self._versions[name]
        if (load := versions.next_load()) is not None:
            title = f"load {name}/{load.version}"
            threading.Thread(target=self._load, args=(name, load), name=title, daemon=True).start()
        served, unused, problems = versions.settle()
        self._registry.replace(served)
        for serving in unused:
            self._release(serving)
        self._problems[name] = [f"model {name!r}: {problem}" for problem in problems]

    def _load(self, name: str, load: Load) -> None:
        versions = self._versions[name]
        try:
            outcome = partial(versions.loaded, load, self._loader.load(name, load))
        except StoppingError:
            return
        except RefusedError as error:
            self._metrics.store.add(MODEL_LOADS, "refused")
            log.warning("version refused", model=name, version=load.version, reason=str(error))
            outcome = partial(versions.refused, load, str(error))
        self._events.put(partial(self._end_load, name, outcome))

    def _end_load(self, name: str, end: Callable[[], None]) -> None:
        end()
        self._advance(name)
        self._conclude()

    def _release(self, serving: Serving) -> None:
        """Let a version finish its calls, once it gets no new ones."""
        model = serving.model
        released = partial(self._released, model.name, model.version, model.sha256)
        self._call_soon(partial(serving.batcher.close, partial(self._events.put, released)))

    def _released(self, name: str, version: int, sha256: str) -> None:
        return_memory()
        log.info("version released", model=name, version=version, sha256=sha256)

    def _conclude(self) -> None:
        self._report()
        self._check_start()
        self._control.answer(self._scanned, self._failure_of)

    def _failure_of(self, name: str) -> str | None:
        """Return why a model does not serve: empty if it serves, None while it is loading."""
        if name in self._versions and self._versions[name].pending:
            return None
        problems = "; ".join(self._problems.get(name, [])) or f"the repository has no model {quoted(name)}"
        return "" if self._registry.serves(name) else problems

    def _report(self) -> None:
        """Log each problem once while it lasts."""
        problems = {problem for each in self._problems.values() for problem in each}
        for problem in sorted(problems - self._reported):
            log.warning("repository problem", problem=problem)
        self._reported = problems
        self._metrics.store.set(PROBLEMS, value=len(problems))

    def _check_start(self) -> None:
        """Signal `start` when the default model has finished loading, and when all models have."""
        if self._all_settled.is_set():
            return
        default = self._registry.default_model
        if not self._versions[default].pending:
            if self._registry.serves(default):
                self._default_settled.set()
            else:
                reasons = "; ".join(each.partition(": ")[2] for each in self._problems.get(default, []))
                root = self._settings.model_repository
                self._fail(f"no version of model {default!r} in {root} can serve: {reasons}")
        self._loading = [name for name, versions in self._versions.items() if versions.pending]
        if not self._loading:
            return_memory()
            self._all_settled.set()

    def _fail(self, reason: str) -> None:
        """Let `start` fail; after the start, serving versions continue to serve."""
        if not self._default_settled.is_set():
            self._failure = reason
            self._default_settled.set()
