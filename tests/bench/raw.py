"""ONNX Runtime alone: `python -m tests.bench.raw MODEL BATCH SECONDS` prints images per second."""

import sys
import time
from pathlib import Path

import numpy as np

from server.model.session import Runtime, Session


def main(model: Path, batch_images: int, seconds: float) -> None:
    """Run batches of noise with the server's session options."""
    session = Session.open(model, model.read_bytes(), Runtime())
    images = np.random.default_rng(0).integers(0, 256, (batch_images, 784), np.uint8)
    for _ in range(10):
        session.run(images)
    runs, started = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - started) < seconds:
        session.run(images)
        runs += 1
    print(runs * batch_images / elapsed)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]))
