"""Several worker processes that share one port, kept running by one that serves nothing itself.

The kernel spreads connections over the workers (SO_REUSEPORT). A worker reads its job from standard input,
which then stays open: its end tells the worker that the supervisor is gone. To standard output it writes lines of JSON,
[kind, content]: its news, its exemplars, what it measured of the models, and a beat when it is ready and then each
second for as long as it works: a worker that falls silent is killed.

One that takes the place of another is not to cost those that serve what they need: it takes over what was measured,
and gives way until it is ready.
"""

import asyncio
import json
import os
import pickle
import signal
import sys
import time
from asyncio.subprocess import PIPE, Process
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import structlog

from server import diagnosis
from server.background import BESIDE
from server.endpoint import Endpoint, listening
from server.errors import StartError
from server.joined_metrics import JoinedMetrics
from server.log import debugging, toggle_debug
from server.news import News
from server.ports import Ports, reserved
from server.settings import Settings
from server.signals import answer_signals, stop_signal
from server.tls import Certificates
from server.tokens import Tokens

FIRST_BACKOFF_SECONDS = 0.1
MAX_BACKOFF_SECONDS = 10.0
# A worker that ran for so long starts again without a pause.
STEADY_SECONDS = 60.0
# What a worker may take beyond its drain and grace before it is killed.
STOP_MARGIN_SECONDS = 5.0
# Workers stop one after the other, each so long after the one before: its callers come to those that are left, and a
# call that arrives just as a worker stops is lost. All of them have the second time to begin.
TURN_SECONDS, TURNS_SECONDS = 0.3, 2.0
# How often a worker says that it works, and how many beats it may miss: batches take milliseconds. Beats are
# counted, not seconds, so that a machine that was suspended does not kill what wakes up with it.
BEAT_SECONDS = 1.0
MISSED_BEATS = 10

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is told."""

    settings: Settings
    slot: int
    ports: Ports
    turn_seconds: float  # how long its turn to stop comes after the first worker's
    tunings: dict[str, dict[str, int]]  # by model, as another worker told of them


async def supervise(settings: Settings, count: int, news: News) -> None:
    """Run `count` workers until SIGTERM or SIGINT, and stop them in order.

    Raises:
        StartError: a port is taken, a file of TLS cannot be used, or a worker cannot start.

    """
    # One line that says what is wrong is better than one of each worker.
    Certificates.of(settings)
    if settings.token_file is not None:
        Tokens(settings.token_file)
    started = time.monotonic()
    stop = stop_signal()
    with TemporaryDirectory(prefix="digits-metrics-") as folder, reserved(settings) as ports:
        metrics = JoinedMetrics(Path(folder))
        tunings: dict[str, dict[str, int]] = {}
        turn_seconds = min(TURN_SECONDS, TURNS_SECONDS / count)
        workers = [
            Worker(Job(settings, slot, ports, slot * turn_seconds, tunings), metrics, news)
            for slot in range(count)
        ]
        endpoint = Endpoint(
            metrics.registry,
            news,
            live=lambda: all(not worker.task.done() for worker in workers),
            ready=lambda: any(worker.ready.is_set() for worker in workers) and not stop.done(),
        )
        with listening(
            endpoint, settings.metrics_host or settings.host, settings.metrics_port
        ) as metrics_port:
            _answer_signals(workers)
            try:
                await _first_start(workers, stop)
                if not stop.done():
                    log.info(
                        "ready",
                        **ports.facts,
                        metrics_port=metrics_port,
                        workers=count,
                        seconds=round(time.monotonic() - started, 2),
                    )
                received = await stop
                log.info("stopping workers", signal=received.name, workers=count)
            finally:
                await _stop(workers, stop, settings)
    log.info("stopped")


class Worker:
    """One place for a worker process, and the task that keeps it filled."""

    def __init__(self, job: Job, metrics: JoinedMetrics, news: News) -> None:
        self._job = job
        self._news = news
        self._metrics = metrics
        self._process: Process | None = None
        self._stopping = False
        self._look_when_ready = False
        self.ready = asyncio.Event()
        self.task = asyncio.create_task(self._keep_running(), name=f"worker-{job.slot}")

    def send(self, signum: signal.Signals) -> None:
        """Pass a signal on to the process, if there is one."""
        if self._process is not None and self._process.returncode is None:
            self._process.send_signal(signum)

    def look(self) -> None:
        """Tell the process to look at the model repository; one that is starting is told when it listens."""
        if self.ready.is_set():
            self.send(signal.SIGHUP)
        else:
            self._look_when_ready = True

    def stop(self, signum: signal.Signals) -> None:
        """Stop the process, and do not start another."""
        self._stopping = True
        # Before it is ready it has nothing to finish, and no handler that would end it quietly.
        self.send(signum if self.ready.is_set() else signal.SIGKILL)
        if self._process is None:
            self.task.cancel()

    async def _keep_running(self) -> None:
        backoff = FIRST_BACKOFF_SECONDS
        while True:
            started = time.monotonic()
            was_ready, code = await self._run()
            if self._stopping:
                return
            if not was_ready and not self._metrics.had(self._job.slot):
                raise StartError(
                    f"worker {self._job.slot} did not start (exit code {code}), its log says why"
                )
            if time.monotonic() - started > STEADY_SECONDS:
                backoff = FIRST_BACKOFF_SECONDS
            log.error("worker died", worker=self._job.slot, exit_code=code, restart_in_seconds=backoff)
            self._metrics.restarted()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    async def _beat(self, output: asyncio.StreamReader) -> bool:
        """Wait for a beat of the process, taking in what else it tells; return False when it ends."""
        while (line := await output.readline()).endswith(b"\n"):  # the last one of a killed process may not
            match json.loads(line):
                case "beat", _:
                    return True
                case "exemplar", content:
                    self._metrics.receive_exemplar(content)
                case "tuning", (model, tuning):
                    self._job.tunings[model] = tuning
                case "news", content:
                    self._news.receive(content, self._job.slot)
        return False

    async def _run(self) -> tuple[bool, int]:
        """Run one process to its end; return whether it became ready, and its exit code."""
        slot = self._job.slot
        self._process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "server.worker", *([BESIDE] if self._job.tunings else [])),
            stdin=PIPE,
            stdout=PIPE,
            env=os.environ | {"PROMETHEUS_MULTIPROC_DIR": str(self._metrics.folder)},
        )
        assert self._process.stdin is not None  # noqa: S101 - asked for above
        assert self._process.stdout is not None  # noqa: S101 - likewise
        self._process.stdin.write(pickle.dumps(self._job))
        was_ready = await self._beat(self._process.stdout)
        if was_ready:
            self._metrics.started(slot, self._process.pid)
            self.ready.set()
            if self._look_when_ready:
                self._look_when_ready = False
                self.look()
            if debugging() != (self._job.settings.log_level == "debug"):
                self.send(signal.SIGUSR2)
            log.info("worker ready", worker=slot, pid=self._process.pid)
            await self._until_silent(self._process.stdout)
        code = await self._process.wait()
        self.ready.clear()
        self._metrics.ended(slot)
        self._process = None
        return was_ready, code

    async def _until_silent(self, output: asyncio.StreamReader) -> None:
        """Return when the process ends; end it when its event loop or its batcher does no more."""
        missed = 0
        while missed < MISSED_BEATS:
            try:
                async with asyncio.timeout(BEAT_SECONDS):
                    if not await self._beat(output):
                        return
                missed = 0
            except TimeoutError:
                missed += 1
        log.error("worker is stuck", worker=self._job.slot, missed_beats=missed)
        self.send(signal.SIGKILL)


async def _first_start(workers: list[Worker], stop: asyncio.Future[signal.Signals]) -> None:
    """Wait until every worker is ready, or the first one fails, or a signal comes."""
    tasks = [worker.task for worker in workers]
    all_ready = asyncio.create_task(_all_ready(workers))
    ends: list[asyncio.Future[Any]] = [all_ready, stop, *tasks]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    all_ready.cancel()
    for task in tasks:
        if task.done():
            task.result()


async def _all_ready(workers: list[Worker]) -> None:
    for worker in workers:
        await worker.ready.wait()


def _answer_signals(workers: list[Worker]) -> None:
    """Answer what asks for the supervisor's own state, and pass it on to the workers."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        for worker in workers:
            worker.look()

    def pass_on(signum: signal.Signals) -> None:
        for worker in workers:
            if worker.ready.is_set():  # before that, it would end
                worker.send(signum)

    def diagnose() -> None:
        diagnosis.write(loop, {})
        loop.call_soon_threadsafe(pass_on, signal.SIGUSR1)

    def change_level() -> None:
        toggle_debug()
        pass_on(signal.SIGUSR2)

    loop.add_signal_handler(signal.SIGHUP, look)
    answer_signals(
        {signal.SIGUSR1: diagnose, signal.SIGUSR2: partial(loop.call_soon_threadsafe, change_level)}
    )


def _send_all(workers: list[Worker], signum: signal.Signals) -> None:
    for worker in workers:
        worker.send(signum)


async def _stop(workers: list[Worker], stop: asyncio.Future[signal.Signals], settings: Settings) -> None:
    for worker in workers:
        worker.stop(stop.result() if stop.done() else signal.SIGINT)
    seconds = settings.drain_seconds + settings.grace_seconds + STOP_MARGIN_SECONDS
    _, late = await asyncio.wait([worker.task for worker in workers], timeout=seconds)
    if late:
        log.error("workers killed", workers=len(late), after_seconds=seconds)
        _send_all(workers, signal.SIGKILL)
        await asyncio.wait(late)
