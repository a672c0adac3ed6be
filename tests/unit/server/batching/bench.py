"""A batcher with an arithmetic model and a manual clock."""

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from server.batching.batch import Predictor
from server.batching.batcher import Batcher
from server.batching.call_queue import Answer, QueuedCall
from server.errors import ServingError
from server.observability.metrics import Metrics
from server.observability.series import Metric

POISON, NAN = 255, 254


class FirstPixelModel:
    """The digit is the image's first pixel modulo ten; 255 makes the model raise, 254 makes it answer NaN."""

    def __init__(self, clock: "Clock | None" = None, seconds_per_image: float = 0.0) -> None:
        self.batches: list[list[int]] = []
        self._clock = clock
        self._seconds_per_image = seconds_per_image

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        pixels = images[:, 0]
        self.batches.append(pixels.tolist())
        if self._clock is not None:
            self._clock.now += self._seconds_per_image * len(images)
        if (pixels == POISON).any():
            raise RuntimeError("poisoned image")
        probabilities = np.eye(10, dtype=np.float32)[pixels % 10] * 0.9 + 0.01
        probabilities[pixels == NAN] = np.nan
        return probabilities


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Bench:
    """A batcher and the answers of its callers."""

    def __init__(
        self,
        max_batch_images: int = 8,
        max_queue_images: int = 1000,
        seconds_per_image: float = 0.0,
        model: Predictor | None = None,
    ) -> None:
        self.clock = Clock()
        self.model = model or FirstPixelModel(self.clock, seconds_per_image)
        self.metrics = Metrics()
        self.ready: set[Batcher] = set()
        self.batcher = Batcher(
            self.model,
            self.metrics.loaded("digits", 1),
            max_batch_images=max_batch_images,
            max_queue_images=max_queue_images,
            ready=self.ready,
            clock=self.clock,
        )
        self.outcomes: list[Answer | ServingError] = []

    def counts(self, metric: Metric) -> dict[str, float]:
        """Return the counts of a metric of one label, without zeros."""
        (label,) = metric.labels
        series = self.metrics.read().items(metric)
        return {labels[label]: count for labels, (count,) in series if count}

    @property
    def batches(self) -> list[list[int]]:
        assert isinstance(self.model, FirstPixelModel)
        return self.model.batches

    def submit(self, *pixels: int, seconds: float = math.inf, **more: Any) -> QueuedCall:
        return self.batcher.submit(
            images(*pixels), len(pixels), self.clock.now + seconds, self.outcomes.append, **more
        )

    def run(self) -> None:
        """Run batches until none is ready, as the data plane does."""
        while self.ready:
            self.batcher.run()

    @property
    def digits(self) -> list[list[int]]:
        assert all(isinstance(outcome, Answer) for outcome in self.outcomes), self.outcomes
        return [outcome.digits for outcome in self.outcomes if isinstance(outcome, Answer)]


def images(*pixels: int) -> bytes:
    return b"".join(bytes([pixel]) + bytes(783) for pixel in pixels)
