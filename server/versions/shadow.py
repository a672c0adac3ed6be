"""Shadow traffic: a candidate also runs a share of the answered images, and its digits are compared.

It runs on the data plane's thread while that is idle, a few images at a time: callers wait for at most one
such run.
"""

import time
from collections import deque
from collections.abc import Iterable, MutableSet

import numpy as np
import structlog
from numpy.typing import NDArray

from server.observability import table
from server.observability.metrics import Metrics
from server.versions.registry import EVEN_STEP
from server.versions.served_model import ServedModel, Serving

# Images in one run of a candidate, for which a caller may have to wait.
RUN_IMAGES = 8
MAX_WAITING_IMAGES = 1024

log = structlog.get_logger()


class Shadow:
    """Compares the answering version with a candidate on a share, 0-1, of the images."""

    def __init__(
        self,
        answering: Serving,
        candidate: Serving,
        share: float,
        metrics: Metrics,
        idle_work: "MutableSet[Shadow]",
    ) -> None:
        """Observe the answers of a version; the shadow is in `idle_work` while images are queued."""
        self.pair = answering, candidate, share
        self._answering = answering
        self._candidate = candidate.model
        self._share = share
        self._store = metrics.store
        self._idle_work = idle_work
        self._position = 0.0
        self._waiting: deque[tuple[NDArray[np.uint8], int]] = deque()
        self._labels = candidate.model.name, str(candidate.model.version)
        self._store.add(table.SHADOW_SKIPPED, *self._labels, amount=0)
        self._store.observe(table.SHADOW_DURATION, *self._labels, values=())
        self._observe = self._choose  # kept, since each access to a bound method makes another object
        answering.batcher.observers += (self._observe,)

    def close(self) -> None:
        """Stop observing."""
        batcher = self._answering.batcher
        batcher.observers = tuple(each for each in batcher.observers if each is not self._observe)
        self._waiting.clear()
        self._idle_work.discard(self)

    def run(self) -> None:
        """Run a few of the queued images."""
        rows = [self._waiting.popleft() for _ in range(min(len(self._waiting), RUN_IMAGES))]
        if not self._waiting:
            self._idle_work.discard(self)
        if rows:
            try:
                self._compare(np.stack([image for image, _ in rows]), [digit for _, digit in rows])
            except Exception:
                model, version = self._labels
                log.exception("shadow ended: its candidate failed", model=model, version=version)
                self.close()

    def _choose(
        self, images: NDArray[np.uint8], digits: NDArray[np.int64], _confidences: NDArray[np.float32]
    ) -> None:
        """Queue a share of the images, on the thread that answered them."""
        positions = (self._position + EVEN_STEP * np.arange(1, len(digits) + 1)) % 1
        self._position = float(positions[-1]) if len(positions) else self._position
        chosen = np.flatnonzero(positions < self._share)
        room = MAX_WAITING_IMAGES - len(self._waiting)
        if len(chosen) > room:
            self._store.add(table.SHADOW_SKIPPED, *self._labels, amount=len(chosen) - room)
            chosen = chosen[:room]
        if len(chosen):
            self._waiting.extend(zip(images[chosen], digits[chosen].tolist(), strict=True))
            self._idle_work.add(self)

    def _compare(self, images: NDArray[np.uint8], digits: list[int]) -> None:
        started = time.perf_counter()
        probabilities = self._candidate.predict(images)
        seconds = time.perf_counter() - started
        if np.isnan(probabilities).any():
            raise ValueError("candidate returned NaN")
        self._store.observe(table.SHADOW_DURATION, *self._labels, values=[seconds])
        model, candidate = self._labels
        version = str(self._answering.model.version)
        for digit, other in zip(digits, probabilities.argmax(axis=1).tolist(), strict=True):
            self._store.add(table.SHADOW_IMAGES, model, version, candidate, str(digit), str(other))


class Shadows:
    """The shadows of all models."""

    def __init__(self, metrics: Metrics, idle_work: "MutableSet[Shadow]") -> None:
        self._metrics = metrics
        self._idle_work = idle_work
        self._shadows: dict[str, Shadow] = {}

    def follow(self, models: Iterable[ServedModel]) -> None:
        """Start and stop shadows to match the models' labels."""
        for served in models:
            current, pair = self._shadows.get(served.name), served.shadow
            if current is not None and not _same(current.pair, pair):
                current.close()
                del self._shadows[served.name]
                log.info("shadow ended", model=served.name)
            if pair is not None and served.name not in self._shadows:
                answering, candidate, share = pair
                self._shadows[served.name] = Shadow(
                    answering, candidate, share, self._metrics, self._idle_work
                )
                versions = {"version": answering.model.version, "shadow_version": candidate.model.version}
                log.info("shadow began", model=served.name, **versions, share=share)


def _same(pair: tuple[Serving, Serving, float], other: tuple[Serving, Serving, float] | None) -> bool:
    return other is not None and pair[0] is other[0] and pair[1] is other[1] and pair[2] == other[2]
