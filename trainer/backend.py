"""TensorFlow and Keras, imported quietly and in one place: every other module takes them from here."""

import os
import tempfile

os.environ.setdefault("KERAS_BACKEND", "tensorflow")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")


def _import_quietly() -> None:
    """Import TensorFlow with the process's stderr set aside.

    Its C++ side announces CPU features on file descriptor 2 before any log level is read. What it wrote
    is shown only if the import fails.
    """
    kept = os.dup(2)
    with tempfile.TemporaryFile() as aside:
        os.dup2(aside.fileno(), 2)
        try:
            import keras  # noqa: F401, PLC0415  # the import is what this function is for
            import tensorflow  # noqa: F401, ICN001, PLC0415
        except BaseException:
            aside.seek(0)
            os.write(kept, aside.read())
            raise
        finally:
            os.dup2(kept, 2)
            os.close(kept)


_import_quietly()

import keras  # noqa: E402  # only now, see above
import tensorflow as tf  # noqa: E402

# The same seed on the same machine must give the same digits, so no operation may race.
tf.config.experimental.enable_op_determinism()

__all__ = ["keras", "tf"]
