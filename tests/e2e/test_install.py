"""Installation without the lock, with the newest and the oldest allowed versions."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.shell import ROOT, Shell

UV = shutil.which("uv") or str(ROOT / "build" / "uv" / "bin" / "uv")
INSTALL_SECONDS = 300
VERSION = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[0]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=["highest", "lowest-direct"])
def shell(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shell]:
    """An environment with only the extra `server`."""
    if not Path(UV).exists():
        pytest.skip("NOT RUN: uv is not installed; `make test-all` installs it")
    folder = tmp_path_factory.mktemp(request.param)
    subprocess.run([UV, "venv", "--quiet", folder / "venv"], check=True)
    install = [UV, "pip", "install", "--quiet", "--python", folder / "venv", "--resolution", request.param]
    subprocess.run([*install, f"{ROOT}[server]"], check=True, timeout=INSTALL_SECONDS)
    shell = Shell(folder, folder / "venv")
    yield shell
    shell.close()


@pytest.mark.parametrize("program", ["digit-server", "digit-client", "digit-trainer"])
def test_every_program_tells_its_version(shell: Shell, program: str) -> None:
    code, printed = shell.run(f"{program} --version")
    assert code == 0
    assert VERSION in printed


def test_the_server_answers_the_client(shell: Shell, tmp_path: Path) -> None:
    bar = np.zeros((28, 28), np.uint8)
    bar[4:24, 12:16] = 255
    Image.fromarray(bar).save(tmp_path / "bar.png")
    ready = shell.start("digit-server --grpc-port 0 --metrics-port 0 --log-format json", '"event": ?"ready"')
    address = f"localhost:{json.loads(ready.splitlines()[-1])['grpc_port']}"
    code, printed = shell.run(f"digit-client predict {tmp_path}/bar.png --server {address} --output json")
    assert code == 0, printed
    assert json.loads(printed)["model"] == "digits"


def test_the_trainer_says_which_extra_it_lacks(shell: Shell) -> None:
    code, printed = shell.run("digit-trainer train --data sample")
    assert code != 0
    assert "[trainer]" in printed
    assert len(printed.splitlines()) == 1
