"""The shipped graphs on an execution provider: parity with the CPU, images per second by batch size.

    python -m tests.bench.provider cuda

needs onnxruntime-gpu with CUDA's libraries, and MNIST's test images in DIGITS_DATA_DIR.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np
import onnxruntime as ort

from clients.data import read_test
from server.model.session import PROVIDERS

MODELS = Path(__file__).parents[2] / "server" / "models"
BATCHES = (1, 64, 256, 1024, 4096)
SECONDS = 0.5
CHUNK = 1000


def main(provider: str) -> None:
    """Print a table for each shipped model."""
    images = read_test(Path(os.environ["DIGITS_DATA_DIR"])).images
    for path in sorted(MODELS.glob("*/*/model.onnx")):
        reference = ort.InferenceSession(path, providers=[PROVIDERS["cpu"][0]])
        session = ort.InferenceSession(path, providers=[PROVIDERS[provider][0], PROVIDERS["cpu"][0]])
        if session.get_providers()[0] != PROVIDERS[provider][0]:
            sys.exit(f"{provider} cannot be used here: its libraries are missing")
        expected, answered = (
            np.concatenate(
                [each.run(None, {"images": part})[0] for part in np.split(images, len(images) // CHUNK)]
            )
            for each in (reference, session)
        )
        same = (expected.argmax(axis=1) == answered.argmax(axis=1)).mean()
        print(
            f"{path.parent.relative_to(MODELS)}: same digits {same:.2%}, off by "
            f"{abs(expected - answered).max():.1e}"
        )
        for count in BATCHES:
            batch = images[:count]
            for _ in range(5):
                session.run(None, {"images": batch})
            runs, started = 0, time.perf_counter()
            while (seconds := time.perf_counter() - started) < SECONDS:
                session.run(None, {"images": batch})
                runs += 1
            print(
                f"  {count:5} images  {1e3 * seconds / runs:8.3f} ms  "
                f"{count * runs / seconds:12,.0f} images/s"
            )


if __name__ == "__main__":
    main(*sys.argv[1:])
