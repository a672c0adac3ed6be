"""KServe's SDK server, without batching: `python -m tests.bench.peers.kserve.serve MODEL PORT`."""

import logging
import sys
from pathlib import Path
from typing import Any

from kserve import InferOutput, InferRequest, InferResponse, Model, ModelServer

from tests.bench.peers.digits import Digits


class Runtime(Model):
    """The model in KServe's interface."""

    def __init__(self, model: Path) -> None:
        super().__init__("digits")
        self._digits = Digits(model)
        self.ready = True

    async def predict(self, payload: InferRequest, *_: Any) -> InferResponse:
        """Answer one call."""
        probabilities = self._digits.probabilities(payload.inputs[0].as_numpy())
        output = InferOutput("probabilities", list(probabilities.shape), "FP32")
        output.set_data_from_numpy(probabilities)
        return InferResponse(payload.id, self.name, [output])


def main(model: str, port: int) -> None:
    """Serve without an access log."""
    server = ModelServer(http_port=0, grpc_port=port, enable_latency_logging=False)
    for name in ("kserve", "kserve.trace"):
        logging.getLogger(name).setLevel(logging.WARNING)
    server.start([Runtime(Path(model))])


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
