"""`digit-client web` and `label` as processes."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager


def serving_page(address: str) -> AbstractContextManager[str]:
    """Serve the drawing page for the server at `address` during a block; yield its URL."""
    return serving("web", "--server", address)


@contextmanager
def serving(*words: str) -> Iterator[str]:
    """Run a command that serves a page during a block; yield its URL."""
    command = [sys.executable, "-m", "clients.cli", *words, "--port", "0"]
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
