"""The Node.js client against the real server."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.process import RunningServer

FOLDER = Path(__file__).parents[3] / "clients" / "node"


@pytest.fixture(scope="module")
def node() -> str:
    node, npm = shutil.which("node"), shutil.which("npm")
    if not (node and npm):
        pytest.skip("NOT RUN: node and npm are needed")
    if not (FOLDER / "node_modules").is_dir():
        subprocess.run([npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=FOLDER, check=True)
    return node


def test_node_client_passes_its_own_tests(server: RunningServer, node: str) -> None:
    environment = os.environ | {"DIGITS_SERVER": server.address}
    ended = subprocess.run(
        [node, "--test"], cwd=FOLDER, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "# pass 4" in ended.stdout


@pytest.mark.mnist
def test_node_example_reads_real_digits(server: RunningServer, node: str, mnist_dir: Path) -> None:
    environment = os.environ | {"DIGITS_SERVER": server.address}
    command = [node, "example.js", str(mnist_dir / "t10k-images-idx3-ubyte.gz"), "4"]
    ended = subprocess.run(command, cwd=FOLDER, env=environment, capture_output=True, text=True, check=True)
    assert [line.split()[0] for line in ended.stdout.splitlines()] == ["7", "2", "1", "0"]
