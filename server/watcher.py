"""Keeps what answers in step with what the repository holds."""

import asyncio
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import structlog

from server import providers, repository
from server.background import give_way, return_memory, run_apart
from server.batcher import Batcher
from server.errors import StartError
from server.manifest import RefusedError
from server.metrics import Metrics
from server.model import Model
from server.models import Models
from server.policy import Policies
from server.repository import ModelFolder, RepositoryError
from server.rollout import Rollout
from server.roster import Serving
from server.session import Runtime
from server.settings import Settings
from server.tuning import Tuning

log = structlog.get_logger()


class Watcher:
    """Looks at the repository every now and then, and at once when told to.

    `tunings` are what another process measured for each model: one that serves already, and is not disturbed.
    """

    def __init__(
        self, settings: Settings, models: Models, metrics: Metrics, tunings: Mapping[str, Tuning]
    ) -> None:
        self._settings = settings
        self._models = models
        self._metrics = metrics
        self._policies = Policies.parse(settings.version_policy)
        self._rollouts: dict[str, Rollout] = {}
        provider = providers.choose(settings.provider)
        self._runtime = Runtime(
            provider,
            settings.provider_options,
            settings.model_threads,
            integers=settings.precision == "auto" and provider == "cpu",
        )
        self._tuning = Tuning(settings.model_threads, settings.max_batch_images, settings.max_run_images)
        self.tunings = dict(tunings)
        self._beside = bool(tunings)
        self._problems: set[str] = set()
        self._woken = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._closed = False
        self._closing: set[asyncio.Task[None]] = set()

    def wake(self) -> None:
        """Look at the repository now, and give what was refused another chance."""
        self._woken.set()

    async def start(self) -> None:
        """Load what should serve, and follow the repository from then on.

        Raises:
            StartError: the repository cannot be read, or no version of the default model may serve.

        """
        root, default = self._settings.model_repository, self._settings.default_model
        try:
            found = await asyncio.to_thread(repository.scan, root)
        except RepositoryError as error:
            raise StartError(str(error)) from None
        if default not in found:
            raise StartError(f"model repository {root} has no model {default!r}, it has {', '.join(found)}")
        problems = await self._settle(found)
        if not self._models.serves(default):
            reasons = "; ".join(problem.partition(": ")[2] for problem in problems[default])
            raise StartError(f"no version of model {default!r} in {root} may serve: {reasons}")
        self._following = asyncio.create_task(self._follow(), name="watcher")

    async def close(self) -> None:
        """Follow the repository no more, and let the versions that go finish their calls."""
        self._closed = True
        if self._following:
            self._following.cancel()
        await asyncio.gather(*self._closing)

    async def _follow(self) -> None:
        """Look again and again; what serves keeps serving while the repository cannot be read."""
        while True:
            await self._pause()
            try:
                found = await asyncio.to_thread(repository.scan, self._settings.model_repository)
                await self._settle(found)
            except RepositoryError as error:
                self._report([str(error)])
            except Exception:
                log.exception("watching the repository failed")  # and must not end

    async def _pause(self) -> None:
        seconds = self._settings.repository_poll_seconds
        try:
            async with asyncio.timeout(seconds or None):
                await self._woken.wait()
        except TimeoutError:
            return
        self._woken.clear()
        for rollout in self._rollouts.values():
            rollout.forget_refusals()

    async def _settle(self, found: dict[str, ModelFolder]) -> dict[str, list[str]]:
        """Bring every model in line with what is on disk; return what is wrong with each."""
        self._models.announce(found)
        problems: dict[str, list[str]] = {}
        for name in sorted(found.keys() | self._rollouts.keys()):
            folder = found.get(name, ModelFolder())
            if not folder.readable:  # what serves keeps serving
                problems[name] = [f"model {name!r}: {problem}" for problem in folder.problems]
                continue
            if name not in self._rollouts:
                self._rollouts[name] = self._rollout(name)
            roster, unused, wrong = await self._rollouts[name].settle(folder)
            self._models.replace(roster)
            for serving in unused:
                self._closing.add(task := asyncio.create_task(self._release(serving)))
                task.add_done_callback(self._closing.discard)
            problems[name] = [f"model {name!r}: {problem}" for problem in wrong]
        self._report([problem for each in problems.values() for problem in each])
        return problems

    def _report(self, problems: list[str]) -> None:
        """Log each problem once, for as long as it lasts."""
        for problem in problems:
            if problem not in self._problems:
                log.warning("repository problem", problem=problem)
        self._problems = set(problems)
        self._metrics.problems(len(self._problems))

    def _rollout(self, name: str) -> Rollout:
        async def load(version: int) -> Serving:
            return await self._load(self._settings.model_repository, name, version)

        return Rollout(name, self._policies.of(name), load)

    async def _load(self, root: Path, name: str, version: int) -> Serving:
        settings = self._settings
        try:
            model = await run_apart(
                partial(
                    Model.load,
                    root / name / str(version),
                    root=root,
                    runtime=self._runtime,
                    tuning=self.tunings.get(name, self._tuning),
                    between_batches=self._between_batches,
                )
            )
        except Exception:
            self._metrics.refused()
            raise
        # Later versions of a model take what the first one measured: they load while others serve.
        self.tunings[name] = model.tuning
        batcher = Batcher(
            model,
            self._metrics.loaded(name, version),
            max_batch_images=model.tuning.batch_images,
            max_queue_images=settings.max_queue_images,
            inline=model.provider == "cpu",
        )
        batcher.on_end(self._models.look)
        log.info(
            "version loaded",
            model=name,
            version=version,
            precision=model.graph.precision,
            accuracy=model.graph.test_accuracy,
            provider=model.provider,
        )
        return Serving(model, batcher)

    def _between_batches(self) -> None:
        """Keep a proof out of the way of calls, and of the stop; runs on the proof's thread."""
        if self._closed:
            raise RefusedError("the server is stopping")
        if self._following or self._beside:  # otherwise there is nothing to be in the way of
            give_way()

    async def _release(self, serving: Serving) -> None:
        """Let a version that gets no new calls finish those that it has, and go."""
        await serving.batcher.close()
        name, version = serving.model.name, serving.model.version
        if not self._models.serves(name, version):
            self._metrics.forget(name, version)
        await asyncio.to_thread(return_memory)
        log.info("version released", model=name, version=version, sha256=serving.model.sha256)
