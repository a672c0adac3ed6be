"""Read a number of several digits: `python -m clients.examples.zip_code envelope.jpg`."""

import os
import sys

from clients import Client, find_digits

found = find_digits(sys.argv[1])
with Client(os.environ.get("DIGITS_SERVER", "localhost:8500")) as client:
    predictions = client.predict([digit.image for digit in found])
print("".join(str(prediction.digit) for prediction in predictions))
