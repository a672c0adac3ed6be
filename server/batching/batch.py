"""One batch: the images of several calls run together, and each call receives its own rows."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from math import isnan
from typing import NamedTuple, Protocol

import numpy as np
import structlog
from numpy.typing import NDArray

from server.batching.call_queue import Answer, QueuedCall
from server.errors import ModelFailedError
from server.observability.batch_metrics import Batch, BatchMetrics
from server.observability.tracing import TracedPart
from server.settings import IMAGE_BYTES

log = structlog.get_logger()


class Predictor(Protocol):
    """What a batch needs of a model."""

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Return probabilities (n, 10) of images (n, 784)."""


# Receives each batch's images (n, 784), digits (n,) and confidences (n,), all read-only, on the thread that
# computed them; it must not block.
Observer = Callable[[NDArray[np.uint8], NDArray[np.int64], NDArray[np.float32]], None]


@dataclass(slots=True)
class Part:
    """The images of a call in one batch: all of them, unless the call is split."""

    call: QueuedCall
    start: int
    count: int

    def images(self) -> bytes | memoryview:
        """Return count x 784 bytes, without a copy."""
        if self.count == self.call.count:
            return self.call.images
        content = memoryview(self.call.images)
        return content[self.start * IMAGE_BYTES : (self.start + self.count) * IMAGE_BYTES]


class _Run(NamedTuple):
    images: NDArray[np.uint8]  # (n, 784)
    probabilities: NDArray[np.float32]  # (n, 10)
    started: float
    seconds: float


def run_batch(  # noqa: PLR0913, PLR0917 - a batch, and what goes with every one
    model: Predictor,
    metrics: BatchMetrics,
    parts: list[Part],
    reason: str,
    clock: Callable[[], float],
    observers: Iterable[Observer],
) -> None:
    """Run the model on `parts`, answer completed calls, and pass the answers to `observers`.

    If the model raises, each call runs again alone, so that only the calls at fault fail.
    """
    try:
        run = _predict(model, parts, clock)
    except Exception:
        log.exception("model failed on a batch", calls=len(parts))
    else:
        _answer(metrics, parts, run, reason, observers)
        return
    for part in parts:
        try:
            run = _predict(model, [part], clock)
        except Exception:
            log.exception("model failed on a call", images=part.call.count)
            part.call.finish(_failure(metrics, part.call, clock()))
        else:
            _answer(metrics, [part], run, "retry", observers)


def _predict(model: Predictor, parts: list[Part], clock: Callable[[], float]) -> _Run:
    started = clock()
    content = parts[0].images() if len(parts) == 1 else b"".join([part.images() for part in parts])
    images = np.frombuffer(content, np.uint8).reshape(-1, IMAGE_BYTES)
    probabilities = model.predict(images)
    return _Run(images, probabilities, started, clock() - started)


def _answer(
    metrics: BatchMetrics, parts: list[Part], run: _Run, reason: str, observers: Iterable[Observer]
) -> None:
    seen, probabilities = run.images, run.probabilities
    best = probabilities.argmax(axis=1)
    highest = probabilities[np.arange(len(best)), best]  # a third of what max() takes
    digits: list[int] = best.tolist()
    confidences: list[float] = highest.tolist()
    # A graph may return NaN, which argmax() treats as the largest value of its row.
    broken = np.isnan(highest) if isnan(sum(confidences)) else None
    queue_seconds = []
    traced: list[TracedPart] = []
    outcomes: list[tuple[QueuedCall, Answer | ModelFailedError]] = []
    images, start = len(digits), 0
    for part in parts:
        call, stop = part.call, start + part.count
        rows, block = slice(start, stop), (probabilities, start, stop)
        start = stop
        if call.trace is not None:
            traced.append(TracedPart(call.trace, call.arrived, part.start == 0))
        if broken is not None and broken[rows].any():
            log.error("model returned NaN", images=call.count)
            outcomes.append((call, _failure(metrics, call, run.started + run.seconds)))
            continue
        answer = call.answer
        if answer is None:
            waited = run.started - call.arrived
            queue_seconds.append(waited)
            answer = Answer(digits[rows], confidences[rows], [block], waited, run.seconds, images)
            call.answer = answer
        else:
            answer.digits += digits[rows]
            answer.confidences += confidences[rows]
            answer.blocks.append(block)
            answer.compute_seconds += run.seconds
            answer.batch_images = images
        if part.start + part.count == call.count:
            outcomes.append((call, answer))
    if broken is not None:
        seen, best, highest = seen[~broken], best[~broken], highest[~broken]
    ink_pixels = int(np.count_nonzero(run.images))
    metrics.batch(Batch(best, highest, ink_pixels, run.seconds, reason, queue_seconds))
    if traced:
        traced[0].trace.batch(traced, run.started, run.seconds, images, reason)
    for call, outcome in outcomes:  # last: a call is counted before it is answered
        call.finish(outcome)
    _show(observers, seen, best, highest)


def _show(
    observers: Iterable[Observer],
    images: NDArray[np.uint8],
    digits: NDArray[np.int64],
    confidences: NDArray[np.float32],
) -> None:
    for observe in observers:
        try:
            observe(images, digits, confidences)
        except Exception:
            log.exception("observer failed")  # a defect of an observer must not fail calls


def _failure(metrics: BatchMetrics, call: QueuedCall, now: float) -> ModelFailedError:
    metrics.failed(now - call.arrived)
    return ModelFailedError("the model failed on this call's images")
