import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from numpy.typing import NDArray

from clients.cli import main
from clients.testing import FakeServer


class Ended(NamedTuple):
    """A command of `digit-client` that has ended."""

    code: int
    out: str
    err: str

    @property
    def records(self) -> list[dict[str, Any]]:
        """The objects of `--output json`."""
        return [json.loads(line) for line in self.out.splitlines()]


Digits = Callable[[int], NDArray[np.uint8]]
Run = Callable[..., Ended]


def started(*words: str) -> subprocess.Popen[str]:
    """Start `digit-client` as a process."""
    command = [sys.executable, "-m", "clients.cli", *words]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture
def run(fake: FakeServer, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run a command of `digit-client` on the fake server, or on another one."""

    def run(command: str, *arguments: object, server: str = fake.address) -> Ended:
        code = main([command, "-s", server, *map(str, arguments)])
        return Ended(code, *capsys.readouterr())

    return run


@pytest.fixture
def digit_images() -> Digits:
    """Make n images whose digits, as the fake server sees them, are 0 1 2 ... 9 0 1 ..."""

    def make(count: int) -> NDArray[np.uint8]:
        images = np.zeros((count, 784), np.uint8)
        images[:, 0] = np.arange(count) % 10
        images.reshape(-1, 28, 28)[:, 8:20, 13:16] = 255  # ink: a blank picture is refused
        return images

    return make


@pytest.fixture
def idx_file(tmp_path: Path) -> Callable[[NDArray[np.uint8]], Path]:
    """Write an array as an IDX file."""

    def write(array: NDArray[np.uint8], name: str = "images-idx3-ubyte") -> Path:
        path = tmp_path / name
        header = bytes([0, 0, 8, array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape)
        path.write_bytes(header + array.tobytes())
        return path

    return write
