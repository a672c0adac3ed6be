"""Training curves for TensorBoard."""

from pathlib import Path

from trainer.backend import tf
from trainer.observer import Epoch, Observer


class TensorBoard(Observer):
    """Write every epoch's figures as event files into a folder; `tensorboard --logdir` shows them."""

    def __init__(self, folder: Path) -> None:
        self._writer = tf.summary.create_file_writer(str(folder))
        # What tf.summary.scalar marks its figures with; it needs TensorBoard itself to be installed.
        kind = tf.compat.v1.SummaryMetadata.PluginData(plugin_name="scalars")
        self._scalar = tf.compat.v1.SummaryMetadata(plugin_data=kind)

    def epoch(self, epoch: Epoch) -> None:
        """Write the figures of one epoch."""
        with self._writer.as_default(step=epoch.epoch):
            for name in ("loss", "accuracy", "validation_loss", "validation_accuracy", "learning_rate"):
                tf.summary.write(name, tf.constant(getattr(epoch, name)), metadata=self._scalar)
        self._writer.flush()
