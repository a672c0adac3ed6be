"""Read the digit in each picture: `python -m clients.examples.pictures seven.png photo.jpg`."""

import os
import sys

from clients import Client

with Client(os.environ.get("DIGITS_SERVER", "localhost:8500")) as client:
    for file, prediction in zip(sys.argv[1:], client.predict(sys.argv[1:]), strict=True):
        print(f"{file}: {prediction.digit} ({prediction.confidence:.1%} sure)")
