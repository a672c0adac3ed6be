"""Training shown to a person: a line that moves on a terminal, a line an epoch elsewhere."""

import sys
import time
from typing import TextIO

from trainer.data.dataset import Dataset, Split
from trainer.observer import Epoch, Observer
from trainer.recipe import Recipe
from trainer.shapes import stages

_REDRAW_SECONDS = 0.1
_BAR = 24


class Progress(Observer):
    """Writes a job's course to a stream as it happens."""

    def __init__(self, recipe: Recipe, stream: TextIO = sys.stdout) -> None:
        self._recipe = recipe
        self._stream = stream
        self._live = stream.isatty()
        self._drawn = 0.0

    def loaded(self, dataset: Dataset, split: Split, epochs: int) -> None:
        """Say what is trained on what."""
        parameters = sum(stage.parameters for stage in stages(self._recipe.layers))
        self._say(f"recipe  {self._recipe.name}: {self._recipe.summary} ({parameters:,} parameters)")
        self._say(
            f"data    {dataset.name}: {len(split.y_train):,} images to train on, "
            f"{len(split.y_validation):,} to validate, {len(dataset.y_test):,} held out for the test"
        )
        if epochs != self._recipe.fit.epochs:
            self._say(f"epochs  {epochs}, the recipe's full course is {self._recipe.fit.epochs}")
        self._say("epoch      loss  accuracy  validation  seconds")

    def step(self, epoch: int, step: int, steps: int) -> None:
        """Move the bar, at most ten times a second."""
        now = time.monotonic()
        if self._live and now - self._drawn > _REDRAW_SECONDS:
            self._drawn = now
            done = _BAR * step // steps
            self._stream.write(f"\r{epoch + 1:5d}  [{'=' * done}{' ' * (_BAR - done)}] {step}/{steps}")
            self._stream.flush()

    def epoch(self, epoch: Epoch) -> None:
        """Write the epoch's line over the bar."""
        if self._live:
            self._stream.write("\r\033[K")
        self._say(
            f"{epoch.epoch:3d}/{epoch.epochs:<3d}  {epoch.loss:.4f}   {epoch.accuracy:7.2%}     "
            f"{epoch.validation_accuracy:7.2%}  {epoch.duration_seconds:7.1f}"
        )

    def _say(self, line: str) -> None:
        print(line, file=self._stream, flush=True)
