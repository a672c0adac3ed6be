"""Be careful with a server that may be slow, full or gone: `python -m clients.examples.careful seven.png`."""

import os
import sys

from clients import Client, Connection, DigitsError

connection = Connection(
    address=os.environ.get("DIGITS_SERVER", "localhost:8500"),
    timeout_seconds=2,  # for the whole of a call, retries included
    attempts=3,  # UNAVAILABLE and RESOURCE_EXHAUSTED are tried again, twice
    hedge_seconds=0.2,  # then ask a second time, and take the first answer
)
try:
    with Client(connection) as client:
        print(client.predict(sys.argv[1])[0].digit)
except DigitsError as error:
    sys.exit(f"no digit: {error}")
