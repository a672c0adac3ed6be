"""`digit-client web` as a process of its own."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def serving_page(address: str) -> Iterator[str]:
    """Serve the page, which asks the server at `address`, for the length of a block; its URL."""
    command = [sys.executable, "-m", "clients.cli", "web", "--port", "0", "--server", address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+", line)
            assert found, f"the page did not start: {line!r}"
            yield found.group()
        finally:
            process.terminate()
            process.wait()
