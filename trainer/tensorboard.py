"""Training curves for TensorBoard."""

from pathlib import Path

from trainer.backend import tf
from trainer.observer import Epoch, Observer


class TensorBoard(Observer):
    """Write every epoch's figures as event files into a folder; `tensorboard --logdir` shows them."""

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))

    def epoch(self, epoch: Epoch) -> None:
        """Write the figures of one epoch."""
        with self._writer.as_default(step=epoch.epoch):
            for name in ("loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate"):
                tf.summary.scalar(name, getattr(epoch, name))
        self._writer.flush()
