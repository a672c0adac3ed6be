"""Commands of tests: here, or in a shell with a folder and an environment of its own."""

import os
import queue
import re
import subprocess
import sys
import threading
from pathlib import Path

from tests.process import RunningServer

ROOT = Path(__file__).parents[2]
# A training takes minutes beside other tests on CPUs without AVX-512.
COMMAND_SECONDS = 900
READY_SECONDS = 60


def run(program: str, *arguments: object, code: int = 0) -> str:
    """Run one of the project's commands, which must end with `code`; return its output and its errors."""
    words = [Path(sys.executable).parent / program, *map(str, arguments)]
    done = subprocess.run(words, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == code, done.stdout
    return done.stdout


def serves(server: RunningServer, labels: dict[str, int]) -> None:
    """Wait until a server serves versions with these labels."""
    events = iter(lambda: server.event("versions serve"), None)
    assert next(event for event in events if event["labels"] == labels)


class Shell:
    """Run commands in `folder` with the programs of `venv`; closing it stops background programs."""

    def __init__(self, folder: Path, venv: Path) -> None:
        self._folder = folder
        own = {name: value for name, value in os.environ.items() if not name.startswith("DIGITS_")}
        own["PIP_NO_COMPILE"] = "0"  # which means yes: Python compiles the few modules that it imports
        self._environment = own | {"PATH": f"{venv / 'bin'}:{os.environ['PATH']}", "VIRTUAL_ENV": str(venv)}
        self._running: dict[str, _Background] = {}

    def run(self, command: str) -> tuple[int, str]:
        """Run a command; return its exit code and its output."""
        done = subprocess.run(
            ["bash", "-c", command],  # noqa: S607 - a person's shell
            cwd=self._folder,
            env=self._environment,
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=COMMAND_SECONDS,
        )
        return done.returncode, done.stdout

    def start(self, command: str, ready: str) -> str:
        """Start a program and return its output up to a line that matches `ready`.

        A running program of the same name, which has the same port, is stopped first.
        """
        name = command.split(maxsplit=1)[0]
        if name in self._running:
            self._running.pop(name).stop()
        self._running[name] = _Background(command, self._folder, self._environment)
        return self._running[name].until(ready)

    def close(self) -> None:
        """Stop all programs."""
        for background in self._running.values():
            background.stop()


class _Background:
    def __init__(self, command: str, folder: Path, environment: dict[str, str]) -> None:
        self._process = subprocess.Popen(
            ["bash", "-c", f"exec {command}"],  # noqa: S607 - a person's shell
            cwd=folder,
            env=environment | {"PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._lines: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(line)
        self._lines.put(None)

    def until(self, pattern: str) -> str:
        printed = ""
        while (line := self._lines.get(timeout=READY_SECONDS)) is not None:
            printed += line
            if re.search(pattern, line):
                return printed
        raise AssertionError(f"it ended without {pattern!r}:\n{printed}")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(READY_SECONDS)
