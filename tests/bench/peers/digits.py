"""The shipped graph, run in the same way by every peer; the only file of this project in a peer."""

from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

# Larger runs are slower in ONNX Runtime.
MAX_BATCH_IMAGES = 64


class Digits:
    """A session with one thread, configured as in the server."""

    def __init__(self, model: Path) -> None:
        options = ort.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 3
        self._session = ort.InferenceSession(str(model), options, ["CPUExecutionProvider"])

    def probabilities(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, float32 (n, 10) out."""
        starts = range(0, len(images), MAX_BATCH_IMAGES)
        batches = [images[start : start + MAX_BATCH_IMAGES] for start in starts]
        answers = [self._session.run(["probabilities"], {"images": batch})[0] for batch in batches]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)
