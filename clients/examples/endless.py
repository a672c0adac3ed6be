"""Read an endless stream of images in constant memory: `... | python -m clients.examples.endless`."""

import os
import sys

import numpy as np

from clients import Client

images = (np.frombuffer(data, np.uint8) for data in iter(lambda: sys.stdin.buffer.read(784), b""))
with Client(os.environ.get("DIGITS_SERVER", "localhost:8500")) as client:
    for prediction in client.stream(images):
        print(prediction.digit)
