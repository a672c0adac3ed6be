"""Whoever wants to know what a training does while it does it."""

from dataclasses import dataclass

from trainer.data.dataset import Dataset, Split


@dataclass(frozen=True)
class Epoch:
    """What one pass over the training images came to.

    Loss and accuracy are means over the batches as they were learned from, varied images and all; the
    validation figures are the averaged network's, afterwards.
    """

    epoch: int
    epochs: int
    loss: float
    accuracy: float
    validation_loss: float
    validation_accuracy: float
    learning_rate: float
    duration_seconds: float


class Observer:
    """Keeps what it is told to itself; override what you want to hear."""

    def loaded(self, dataset: Dataset, split: Split, epochs: int) -> None:
        """Hear that data is in memory and training begins."""

    def step(self, epoch: int, step: int, steps: int) -> None:
        """Hear that one batch is about to be learned from."""

    def epoch(self, epoch: Epoch) -> None:
        """Hear that one pass over the training images is complete."""


class Several(Observer):
    """Tells several observers."""

    def __init__(self, *observers: Observer) -> None:
        self._observers = observers

    def loaded(self, dataset: Dataset, split: Split, epochs: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.loaded(dataset, split, epochs)

    def step(self, epoch: int, step: int, steps: int) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.step(epoch, step, steps)

    def epoch(self, epoch: Epoch) -> None:
        """Pass it on."""
        for observer in self._observers:
            observer.epoch(epoch)
