"""MLServer with a custom runtime and adaptive batching: `python -m tests.bench.peers.mlserver.serve MODEL
PORT`.

MLServer converts UINT8 tensors to a Python integer per pixel; in a BYTES tensor, an image is one element.
"""

import asyncio
import sys
from pathlib import Path
from typing import Any

import numpy as np
from mlserver import MLModel, MLServer, ModelSettings, Settings
from mlserver.settings import ModelParameters
from mlserver.types import InferenceRequest, InferenceResponse, ResponseOutput, TensorData
from mlserver.utils import install_uvloop_event_loop

from tests.bench.peers.digits import MAX_BATCH_IMAGES, Digits


class Runtime(MLModel):
    """The model in MLServer's interface."""

    async def load(self) -> bool:
        """Open the graph."""
        self._digits = Digits(Path(self.settings.parameters.uri))
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Answer a batch."""
        data: list[Any] = payload.inputs[0].data.root
        whole = isinstance(data[0], bytes)
        pixels = np.frombuffer(b"".join(data), np.uint8) if whole else np.array(data, np.uint8)
        probabilities = self._digits.probabilities(pixels.reshape(-1, 784))
        output = ResponseOutput(
            name="probabilities",
            datatype="FP32",
            shape=list(probabilities.shape),
            data=TensorData(probabilities.ravel().tolist()),
            parameters={},
        )
        return InferenceResponse(model_name=self.name, outputs=[output])


def main(model: str, port: int) -> None:
    """Serve in one process, without an access log."""
    install_uvloop_event_loop()
    settings = Settings(
        host="127.0.0.1", grpc_port=port, http_port=0, metrics_port=0, parallel_workers=0, debug=False
    )
    model_settings = ModelSettings(
        name="digits",
        implementation=Runtime,
        max_batch_size=MAX_BATCH_IMAGES,
        max_batch_time=0.002,
        parameters=ModelParameters(uri=model),
    )

    async def serve() -> None:
        await MLServer(settings).start([model_settings])

    asyncio.run(serve())


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
