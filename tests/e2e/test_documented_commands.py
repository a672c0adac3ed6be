"""The commands in README and SECURITY, word for word, in an empty environment without the lock.

Fenced blocks with the language `console` (lines that start with `$ `) or `python` run in order, all pages in
one copy of the repository. A block that cannot run here gives the reason in its first line:

    ```console not-run: needs a cluster

Printed lines of a block must appear in this order; numbers may differ, and `...` stands for any lines.
"""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.e2e.shell import ROOT, Shell
from trainer.data.dataset import load_sample

# README's commands take seven minutes beside other tests on CPUs without AVX-512.
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

PAGES = ["README.md", "SECURITY.md"]
SERVERS = ("digit-server", "digit-client web")
READY = r"ready|https?://"
ANYTHING = {"...", "…"}


@dataclass(frozen=True)
class Command:
    """A command and its output on the page."""

    line: int
    text: str
    shown: list[str] = field(default_factory=list)


def commands(page: Path) -> Iterator[Command]:
    """List the commands of a page; a Python block is one command."""
    language, started, block = None, 0, list[str]()
    for number, line in enumerate(page.read_text().splitlines(), 1):
        if language is None and (fence := re.fullmatch(r"```(\w*)( not-run: .+)?", line)):
            language, started, block = fence[1] if not fence[2] else "", number, []
        elif line == "```":
            if language == "python":
                yield Command(started, "python - <<'EOF'\n" + "\n".join(block) + "\nEOF")
            elif language == "console":
                yield from _typed(started, block)
            language = None
        else:
            block.append(line)


def _typed(started: int, block: list[str]) -> Iterator[Command]:
    command: Command | None = None
    for number, line in enumerate(block, started + 1):
        if command and command.text.endswith("\\"):
            command = Command(command.line, f"{command.text}\n{line.removeprefix('> ')}")
        elif line.startswith("$ "):
            if command:
                yield command
            command = Command(number, line.removeprefix("$ "))
        elif command and line.strip():
            command.shown.append(line)
    if command:
        yield command


def pattern(shown: str) -> str:
    """Match a line with any numbers and spaces."""
    words = re.split(r"\s+", shown.strip())
    return r"\s+".join(re.sub(r"\d+(\\?[.,]\d+)*", r"[\\d.,]+", re.escape(word)) for word in words)


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory, mnist_dir: Path) -> Iterator[Shell]:
    """A fresh clone, an empty environment, and the files that the pages use."""
    folder = tmp_path_factory.mktemp("documented")
    clone, venv = folder / "clone", folder / "venv"
    listed = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout.split("\0")
    for source in (ROOT / name for name in names if name):
        if source.is_file():
            target = clone / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(source, target)
    subprocess.run(["python3", "-m", "venv", venv], check=True)  # noqa: S607 - as a person does
    sample = load_sample()
    digits = [sample.x_test[np.flatnonzero(sample.y_test == digit)[0]].reshape(28, 28) for digit in (7, 1, 0)]
    Image.fromarray(digits[0]).save(clone / "seven.png")
    Image.fromarray(255 - np.hstack(digits)).resize((840, 280)).save(clone / "photo-of-a-zip-code.jpg")
    shutil.copy(mnist_dir / "t10k-images-idx3-ubyte.gz", clone)
    shell = Shell(clone, venv)
    yield shell
    shell.close()


@pytest.mark.mnist
@pytest.mark.parametrize("page", PAGES)
def test_every_command_works_and_prints_what_the_page_shows(shell: Shell, page: str) -> None:
    variables = ""
    for command in commands(ROOT / page):
        where = f"{page}:{command.line}: {command.text}"
        if re.match(r"(export )?\w+=", command.text):
            variables += f"{command.text}; "
            continue
        shown = [line for line in command.shown if line.strip() not in ANYTHING]
        if command.text.startswith(SERVERS):
            text = command.text.split("#")[0].rstrip(" &")
            printed = shell.start(text, pattern(shown[-1]) if shown else READY)
        else:
            code, printed = shell.run(variables + command.text)
            assert code == 0, f"{where}\n{printed}"
        found = re.search(".*?".join(map(pattern, shown)), printed, re.DOTALL)
        assert found, f"{where}\nthe page shows {shown}, and this is printed:\n{printed}"
