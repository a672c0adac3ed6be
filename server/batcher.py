"""Concurrent callers, grouped into batches for one model.

The queue counts images. One task forms batches and runs them:

1. it sleeps until a call arrives: who comes alone is answered at once;
2. it takes up to `max_batch_images` of at most MAX_BATCH_CALLS, in order of arrival, leaving out callers that are gone;
3. it runs the model, on the event loop's own thread or on one of its own, and hands each caller its rows;
4. it lets those gather who came meanwhile, for as long as the event loop keeps bringing some: a gRPC server
   hands over calls that arrived together one by one, a few rounds of the loop apart, and a batcher that
   takes what is there at once gets batches of one. Then it goes on with 2, or with 1 if nobody came.

On a CPU it runs inline: that blocks the loop for one batch, a few milliseconds, and needs no hand-over
between threads. While a GPU computes, the loop has better to do.
"""

import asyncio
import math
import os
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from server.batch_metrics import Batch, BatchMetrics
from server.errors import ExpiredError, ModelFailedError, OverloadedError, ServingError, UnavailableError
from server.manifest import IMAGE_BYTES
from server.queued import Answer, Call, Run, Slice
from server.trace import Part

# Rounds of the event loop without an arrival after which no more are on their way.
QUIET_ROUNDS = 16
# The same where a batch is full already: what waits inside gRPC is not seen by admission. gRPC hands over a call
# every few rounds; past the second number, the batch has waited long enough.
FULL_QUIET_ROUNDS, FULL_ROUNDS = 6, 64
# Most calls in a batch: those of more do not stay in the caches until they are answered.
MAX_BATCH_CALLS = 64
# How often a call's own images are run beside it before it is answered: the rest of its batch with it, and the next
# one while its answer leaves. It grows with the call, since refusing a small one costs as much as answering it.
BESIDE = 3
# Who lets others in and waits for longer than the first had no thread of gRPC's before it, but another program that
# computes. It would have most of the core: none is let in for the second.
LONG_YIELD_SECONDS, SELFISH_SECONDS = 0.001, 0.1

log = structlog.get_logger()


class Predictor(Protocol):
    """What the batcher needs of a model."""

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities (n, 10) of images (n, 784)."""


class Batcher:
    """The queue in front of one model, and the task that empties it."""

    def __init__(
        self,
        model: Predictor,
        metrics: BatchMetrics,
        *,
        max_batch_images: int,
        max_queue_images: int,
        inline: bool = True,
    ) -> None:
        self._model = model
        self._metrics = metrics
        self._max_batch_images = max_batch_images
        self._max_queue_images = max_queue_images
        self._queue: deque[Call] = deque()
        self._queued_images = 0
        self._running_images = 0
        self._arrival = asyncio.Event()
        self._released = asyncio.Event()
        self._released.set()
        self._closed = False
        self._loop = asyncio.get_running_loop()
        self._seconds_per_image = 0.0  # a moving average; 0 until the first batch
        # When the queue began to be worked off, or the last batch had been run.
        self._busy_since = time.monotonic()
        self._selfish_until = 0.0
        self._thread = None if inline else ThreadPoolExecutor(1, "model")
        self._task = asyncio.create_task(self._run(), name="batcher")

    @property
    def queued_images(self) -> int:
        """How many images wait for the model."""
        return self._queued_images

    @property
    def inflight_images(self) -> int:
        """How many images are accepted and not answered yet."""
        return self._queued_images + self._running_images

    @property
    def limit_images(self) -> int:
        """How many images may wait for the model."""
        return self._max_queue_images

    @property
    def oldest_seconds(self) -> float:
        """How long the first call in the queue has waited; 0 where there is none."""
        return time.monotonic() - self._queue[0].arrived if self._queue else 0.0

    @property
    def alive(self) -> bool:
        """Whether the task that forms batches runs; false once closed, or after a defect."""
        return not self._task.done()

    def on_end(self, tell: Callable[[], None]) -> None:
        """Call `tell` when the batcher is no longer alive."""
        self._task.add_done_callback(lambda _: tell())

    def submit(
        self, images: bytes, count: int, *, remaining_seconds: float = math.inf
    ) -> asyncio.Future[Answer]:
        """Queue `count` images of 784 bytes each, to be answered within `remaining_seconds`.

        Cancelling the future takes them out again. The future may raise:
            ExpiredError: `remaining_seconds` passed in the queue.
            ModelFailedError: the model raised on these images.

        Raises:
            OverloadedError: the queue is full, or is too long for the images to be run in time.
            ExpiredError: there is no time left.
            UnavailableError: the batcher is closed.

        """
        if self._closed or not self.alive:
            raise UnavailableError("the server is stopping")
        if remaining_seconds <= 0:
            raise ExpiredError("the deadline passed before the call was queued")
        wait_seconds = self._queued_images * self._seconds_per_image
        if self._queued_images + count > self._max_queue_images:
            self._metrics.rejected("queue_full")
            raise OverloadedError(
                f"the queue has {self._queued_images} images and room for {self._max_queue_images}, "
                f"the call brings {count}",
                retry_seconds=wait_seconds,
            )
        beside = BESIDE * min(count, self._max_batch_images)
        answered_seconds = (self._queued_images + count + beside) * self._seconds_per_image
        # With nothing in the queue a call always goes: after a stall only a batch can tell that it is over.
        if self._queue and answered_seconds > remaining_seconds:
            self._metrics.rejected("deadline")
            raise OverloadedError(
                f"{self._queued_images} images are queued, too many to answer within the call's deadline",
                retry_seconds=wait_seconds,
            )
        now = time.monotonic()
        call = Call(images, count, now, now + remaining_seconds, self._loop.create_future())
        self._queue.append(call)
        self._queued_images += count
        self._arrival.set()
        return call.future

    def hold(self) -> None:
        """Queue calls, and answer none until released."""
        self._released.clear()

    def release(self) -> None:
        """Answer again."""
        self._released.set()

    async def close(self) -> None:
        """Refuse new calls, finish the queue, and end the task."""
        self._closed = True
        self._arrival.set()
        self._released.set()
        await self._task
        if self._thread is not None:
            self._thread.shutdown()

    async def _run(self) -> None:
        batch: list[Slice] = []
        try:
            while True:
                reason = "quiet"
                if not self._queue:
                    if self._closed:
                        return
                    reason = "idle"
                    self._arrival.clear()
                    await self._arrival.wait()
                    self._busy_since = time.monotonic()
                await self._released.wait()
                batch = self._take()
                if batch:
                    await self._compute(batch, reason)
                await self._gather()
        except Exception:
            log.critical("batcher died", exc_info=True)
            raise
        finally:
            self._fail(
                [*(part.call for part in batch), *self._queue], UnavailableError("the server is stopping")
            )

    async def _gather(self) -> None:
        """Wait while arrivals keep coming; for a while only, once there is a full batch."""
        quiet = full = 0
        while quiet < (FULL_QUIET_ROUNDS if full else QUIET_ROUNDS) and full < FULL_ROUNDS:
            seen = self._queued_images
            await asyncio.sleep(0)  # lets the last answers out, too, before the next batch blocks the loop
            full += self._queued_images >= self._max_batch_images or len(self._queue) >= MAX_BATCH_CALLS
            self._let_in()
            quiet = quiet + 1 if self._queued_images == seen else 0

    def _let_in(self) -> None:
        """Let gRPC's own threads run, which bring the calls: on a busy core they would wait for the next batch."""
        now = time.monotonic()
        if now >= self._selfish_until:
            os.sched_yield()
            if time.monotonic() - now > LONG_YIELD_SECONDS:
                self._selfish_until = now + SELFISH_SECONDS

    def _take(self) -> list[Slice]:
        """Take the next batch off the queue, leaving out callers that are gone or out of time."""
        now = time.monotonic()
        room = self._max_batch_images
        batch: list[Slice] = []
        while room and self._queue and len(batch) < MAX_BATCH_CALLS:
            call = self._queue[0]
            waiting = call.count - call.taken
            expired = call.deadline <= now
            if expired and not call.future.done():
                call.future.set_exception(ExpiredError("the deadline passed while the call was queued"))
            if call.future.done():
                if expired or call.future.cancelled():
                    self._metrics.dropped("expired" if expired else "cancelled")
                self._queue.popleft()
                self._queued_images -= waiting
                continue
            count = min(room, waiting)
            batch.append(Slice(call, call.taken, count))
            call.taken += count
            room -= count
            self._queued_images -= count
            if count == waiting:
                self._queue.popleft()
        return batch

    async def _compute(self, batch: list[Slice], reason: str) -> None:
        self._running_images = sum(part.count for part in batch)
        if self._running_images == self._max_batch_images or len(batch) == MAX_BATCH_CALLS:
            reason = "full"
        try:
            run = await self._predict(batch)
        except Exception:
            log.exception("model failed on a batch", calls=len(batch))
            await self._isolate(batch)
        else:
            self._learn(run)
            self._answer(batch, run, reason)
        finally:
            self._running_images = 0

    def _learn(self, run: Run) -> None:
        """Keep an average of how long an image takes, with all that the server does beside while it is busy."""
        ended = run.started + run.seconds
        seconds_per_image = (ended - self._busy_since) / len(run.images)
        self._seconds_per_image += (seconds_per_image - self._seconds_per_image) / 8
        self._busy_since = ended

    async def _isolate(self, batch: list[Slice]) -> None:
        """Run a failed batch again one call at a time: only the call that fails shall fail."""
        for part in batch:
            try:
                run = await self._predict([part])
            except Exception:
                log.exception("model failed on a call", images=part.call.count)
                self._metrics.failed()
                self._fail([part.call], ModelFailedError("the model failed on this call's images"))
            else:
                self._answer([part], run, "retry")

    async def _predict(self, batch: list[Slice]) -> Run:
        started = time.monotonic()
        content = batch[0].images() if len(batch) == 1 else b"".join([part.images() for part in batch])
        images = np.frombuffer(content, np.uint8).reshape(-1, IMAGE_BYTES)
        if self._thread is None:
            probabilities = self._model.predict(images)
        else:
            probabilities = await self._loop.run_in_executor(self._thread, self._model.predict, images)
        return Run(images, probabilities, started, time.monotonic() - started)

    def _answer(self, batch: list[Slice], run: Run, reason: str) -> None:
        probabilities = run.probabilities
        best = probabilities.argmax(axis=1)
        highest = probabilities.max(axis=1)
        digits: list[int] = best.tolist()
        confidences: list[float] = highest.tolist()
        queue_seconds = []
        traced: list[Part] = []
        row = 0
        for part in batch:
            call, answer = part.call, part.call.answer
            if part.start == 0:
                answer.queue_seconds = run.started - call.arrived
                queue_seconds.append(answer.queue_seconds)
            if call.trace is not None:
                traced.append(Part(call.trace, call.arrived, part.start == 0))
            rows = slice(row, row + part.count)
            row += part.count
            answer.digits += digits[rows]
            answer.confidences += confidences[rows]
            answer.probabilities.append(probabilities[rows])
            answer.compute_seconds += run.seconds
            answer.batch_images = len(digits)
            if len(answer.digits) == call.count and not call.future.done():
                call.future.set_result(answer)
        self._metrics.batch(
            Batch(best, highest, int(np.count_nonzero(run.images)), run.seconds, reason), queue_seconds
        )
        if traced:
            traced[0].trace.batch(traced, run.started, run.seconds, len(digits), reason)

    @staticmethod
    def _fail(calls: list[Call], error: ServingError) -> None:
        for call in calls:
            if not call.future.done():
                call.future.set_exception(error)
