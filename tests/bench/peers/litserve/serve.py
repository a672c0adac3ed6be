"""LitServe with batching: `python -m tests.bench.peers.litserve.serve MODEL PORT`.

JSON over HTTP/1.1: images are base64 in {"images": ...}, the answer is {"digits": ..., ...}.
"""

import base64
import sys
from pathlib import Path
from typing import Any

import litserve
import numpy as np
from numpy.typing import NDArray

from tests.bench.peers.digits import MAX_BATCH_IMAGES, Digits


class Api(litserve.LitAPI):
    """The model in LitServe's interface."""

    def __init__(self, model: str) -> None:
        super().__init__(max_batch_size=MAX_BATCH_IMAGES, batch_timeout=0.002)
        self._model = Path(model)

    def setup(self, device: str) -> None:  # noqa: ARG002 - LitServe's signature
        """Load the graph in the worker process."""
        self._digits = Digits(self._model)

    def decode_request(self, request: dict[str, str]) -> NDArray[np.uint8]:
        """Return the images of one call."""
        return np.frombuffer(base64.b64decode(request["images"]), np.uint8).reshape(-1, 784)

    def batch(self, inputs: list[NDArray[np.uint8]]) -> list[NDArray[np.uint8]]:
        """Return the calls unchanged; predict joins them."""
        return inputs

    def predict(self, x: list[NDArray[np.uint8]]) -> list[NDArray[np.float32]]:
        """Answer a batch."""
        ends = np.cumsum([len(images) for images in x])
        return np.split(self._digits.probabilities(np.concatenate(x)), ends[:-1])

    def unbatch(self, output: list[NDArray[np.float32]]) -> list[NDArray[np.float32]]:
        """Return the answers unchanged, one per call."""
        return output

    def encode_response(self, output: NDArray[np.float32]) -> dict[str, Any]:
        """Return digits, confidences and model, as our server does."""
        return {"digits": output.argmax(1).tolist(), "confidences": output.max(1).tolist()}


def main(model: str, port: int) -> None:
    """Serve with one process for HTTP and one for the model."""
    server = litserve.LitServer(Api(model), accelerator="cpu", fast_queue=True)
    server.run("127.0.0.1", port, log_level="warning", generate_client_file=False)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
