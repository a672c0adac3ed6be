"""The queue in front of one model, and the batches that empty it.

A plain synchronous object: the data plane submits calls as they arrive, and runs a batch once it has read
all of them.
"""

import time
from collections.abc import Callable, MutableSet

from server.batching.batch import Observer, Part, Predictor, run_batch
from server.batching.call_queue import CallQueue, QueuedCall, Reply
from server.errors import ExpiredError, InvalidRequestError, OverloadedError, UnavailableError
from server.observability.batch_metrics import BatchMetrics
from server.observability.table import DROPPED, REJECTED
from server.observability.tracing import CallTrace

# Maximum number of calls in a batch; more fall out of the caches before they are answered.
MAX_BATCH_CALLS = 64
# With more batches than this in the queue, the server is overloaded.
OVERLOAD_BATCHES = 2
# Margin of the estimated latency, in multiples of the call's own images: the rest of its batch, and the batch
# that runs while its answer is sent. Small for small calls: refusing one costs as much as answering it.
BESIDE = 3


class Batcher:
    """Groups concurrent calls into batches for one model."""

    def __init__(  # noqa: PLR0913 - two bounds, and a clock for tests
        self,
        model: Predictor,
        metrics: BatchMetrics,
        *,
        max_batch_images: int,
        max_queue_images: int,
        ready: "MutableSet[Batcher]",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Build an empty queue for `model`; the batcher is in `ready` while calls wait."""
        self.observers: tuple[Observer, ...] = ()  # replaced as a whole, from any thread
        self._model = model
        self._metrics = metrics
        self._max_batch_images = max_batch_images
        self._max_queue_images = max_queue_images
        self._ready = ready
        self._clock = clock
        self._queue = CallQueue()
        self._running_images = 0
        self._held = False
        self._released: Callable[[], None] | None = None  # set when the batcher is closed
        self._seconds_per_image = 0.0  # a moving average; 0 until the first batch
        # When the first call arrived at an empty queue, or the last batch ended.
        self._busy_since = clock()
        self._idle = True  # whether the next batch is the first after an empty queue

    @property
    def queued_images(self) -> int:
        """Number of queued images."""
        return self._queue.images

    @property
    def inflight_images(self) -> int:
        """Number of accepted images that are not answered yet."""
        return self._queue.images + self._running_images

    @property
    def limit_images(self) -> int:
        """Maximum number of queued images."""
        return self._max_queue_images

    @property
    def oldest_seconds(self) -> float:
        """How long the oldest call has waited; 0 if the queue is empty."""
        return max(self._clock() - self._queue.oldest_arrival, 0.0)

    @property
    def alive(self) -> bool:
        """Whether calls are answered; false once closed."""
        return self._released is None

    def submit(
        self,
        images: bytes | memoryview,
        count: int,
        deadline: float,
        reply: Reply,
        trace: CallTrace | None = None,
    ) -> QueuedCall:
        """Queue `count` images of 784 bytes each, to be answered by `deadline` (monotonic seconds).

        `reply` receives the answer, or an ExpiredError or ModelFailedError. Set the call's `cancelled` to
        remove it.

        Raises:
            InvalidRequestError: the call is larger than the queue.
            OverloadedError: the queue is full, or too long to meet the deadline.
            ExpiredError: the deadline has passed.
            UnavailableError: the batcher is closed.

        """
        queue, now = self._queue, self._clock()
        if self._released is not None:
            raise UnavailableError("the server is stopping")
        if deadline <= now:
            raise ExpiredError("the deadline passed before the call was queued")
        if queue.images + count > self._max_queue_images:
            raise self._full(count)
        if not queue.images:
            if not self._held:
                self._wake()
            if self._idle:
                self._busy_since = now
        else:
            # An empty queue accepts any call: only a batch can show that a stall is over.
            beside = BESIDE * min(count, self._max_batch_images)
            if now + (queue.images + count + beside) * self._seconds_per_image > deadline:
                self._metrics.store.add(REJECTED, "deadline")
                raise OverloadedError(
                    f"{queue.images} images are queued, too many to answer within the call's deadline",
                    retry_seconds=self._wait_seconds,
                )
        call = QueuedCall(images, count, now, deadline, reply, trace)
        queue.add(call)
        return call

    def run(self) -> None:
        """Run one batch and answer its calls."""
        batch = self._take()
        if batch:
            self._compute(batch)
        if not self._queue.images:
            self._ready.discard(self)
            self._idle = True
            self._release()

    def hold(self) -> None:
        """Queue calls but run no batch until `release`."""
        self._held = True
        self._ready.discard(self)

    def release(self) -> None:
        """Run batches again after `hold`."""
        self._held = False
        if self._queue.images:
            self._wake()

    def close(self, released: Callable[[], None] = lambda: None) -> None:
        """Refuse new calls, and call `released` when the queue is empty; closing twice does nothing."""
        if self._released is None:
            self._released = released
            self.release()
            if not self._queue.images:
                self._release()

    def _wake(self) -> None:
        self._ready.add(self)

    def _release(self) -> None:
        if self._released is not None:
            released, self._released = self._released, lambda: None
            released()

    @property
    def _wait_seconds(self) -> float:
        return self._queue.images * self._seconds_per_image

    def _full(self, count: int) -> InvalidRequestError | OverloadedError:
        if count > self._max_queue_images:
            return InvalidRequestError(
                f"the call has {count} images, the queue has room for {self._max_queue_images}"
            )
        self._metrics.store.add(REJECTED, "queue_full")
        return OverloadedError(
            f"the queue has {self._queue.images} images and room for {self._max_queue_images}, "
            f"the call has {count}",
            retry_seconds=self._wait_seconds,
        )

    def _take(self) -> list[Part]:
        """Take the next batch off the queue; drop cancelled and expired calls."""
        queue, now = self._queue, self._clock()
        room = self._max_batch_images
        overloaded = len(queue) > OVERLOAD_BATCHES * MAX_BATCH_CALLS
        # Under overload, a call with less time left than a batch takes would be answered too late.
        limit = now + min(queue.images, room) * self._seconds_per_image if overloaded else now
        while (gone := queue.dead(limit)) is not None:
            self._drop(gone)
        batch: list[Part] = []
        while room and len(batch) < MAX_BATCH_CALLS:
            call = queue.next(now, newest=overloaded)
            if call is None:
                break
            if call.cancelled or call.answered or call.deadline <= limit:
                self._drop(call)
                continue
            start = queue.take(call, room)
            batch.append(Part(call, start, call.taken - start))
            room -= call.taken - start
        return batch

    def _drop(self, call: QueuedCall) -> None:
        self._queue.discard(call)
        if call.cancelled:
            self._metrics.store.add(DROPPED, "cancelled")
        elif not call.answered:
            self._metrics.store.add(DROPPED, "expired")
            call.finish(ExpiredError("the deadline passed while the call was queued"))

    def _compute(self, parts: list[Part]) -> None:
        images = self._running_images = sum(part.count for part in parts)
        full = images >= self._max_batch_images or len(parts) == MAX_BATCH_CALLS
        reason = "full" if full else "idle" if self._idle else "quiet"
        self._idle = False
        run_batch(self._model, self._metrics, parts, reason, self._clock, self.observers)
        self._running_images = 0
        ended = self._clock()
        # Includes all other work of the data plane while it is busy.
        seconds_per_image = (ended - self._busy_since) / images
        self._seconds_per_image += (seconds_per_image - self._seconds_per_image) / 8
        self._busy_since = ended
