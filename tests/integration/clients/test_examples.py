"""The Python examples of docs/clients.md."""

import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.process import RunningServer

DOCS = Path(__file__).parents[3] / "docs" / "clients.md"
PICTURES, NUMBER, STREAM, ASYNCIO, CAREFUL = re.findall(r"```python\n(.*?)```", DOCS.read_text(), re.DOTALL)


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A picture of a 1."""
    path: Path = tmp_path_factory.mktemp("pictures") / "one.png"
    page = np.full((200, 150), 230, np.uint8)
    page[30:170, 70:84] = 20
    Image.fromarray(page).save(path)
    return str(path)


@pytest.fixture(scope="module")
def code(one: str) -> str:
    """A picture of 111."""
    path = Path(one).with_name("code.png")
    Image.fromarray(np.hstack([np.asarray(Image.open(one))] * 3)).save(path)
    return str(path)


def example(
    text: str, *arguments: str, server: str, stdin: bytes = b""
) -> subprocess.CompletedProcess[bytes]:
    text = text.replace("localhost:8500", server).replace("Client()", f"Client({server!r})")
    command = [sys.executable, "-W", "error", "-c", text, *arguments]
    environment = os.environ | {"PYTHONPATH": str(DOCS.parents[1])}
    return subprocess.run(command, input=stdin, capture_output=True, check=False, env=environment)


def test_pictures(server: RunningServer, one: str) -> None:
    assert example(PICTURES, one, one, server=server.address).stdout.decode().count(f"{one}: 1 (") == 2


def test_number(server: RunningServer, code: str) -> None:
    assert example(NUMBER, code, server=server.address).stdout == b"111\n"


def test_endless_stream(server: RunningServer) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[4:24, 13:16] = 255
    ended = example(STREAM, server=server.address, stdin=image.tobytes() * 700)
    assert ended.stdout == b"1\n" * 700


def test_asyncio(server: RunningServer) -> None:
    out = example(ASYNCIO, server=server.address).stdout.decode()
    assert out.startswith("1000 answers, up to ")
    assert int(out.split()[4]) > 1


def test_careful(server: RunningServer, one: str) -> None:
    assert example(CAREFUL, one, server=server.address).stdout == b"1\n"
    gone = example(CAREFUL, one, server="127.0.0.1:1")
    assert gone.returncode == 1
    assert gone.stderr.startswith(b"no digit: no server answers at 127.0.0.1:1")
