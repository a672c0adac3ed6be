"""A trained run, shared by all tests that need one."""

import contextlib
import io
from dataclasses import dataclass
from pathlib import Path

import pytest

from trainer.cli import main
from trainer.run import Run


@dataclass(frozen=True)
class Trained:
    """A finished run of `digits`, one epoch on the sample, and the version that it was published as.

    Copy what a test changes.
    """

    run: Run
    version: Path
    output: str


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train for a few seconds, once for all tests."""
    folder = tmp_path_factory.mktemp("trained")
    words = ["train", "--data", "sample", "--epochs", "1", "--run-dir", str(folder / "run")]
    with contextlib.redirect_stdout(io.StringIO()) as output:
        assert main([*words, "--repository", str(folder / "repository")]) == 0
    return Trained(Run(folder / "run"), folder / "repository" / "digits" / "1", output.getvalue())
