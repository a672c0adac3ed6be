"""One short training, for every test that needs a run."""

import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

# `make image-test` builds the images that these run.
collect_ignore = [] if os.environ.get("DIGITS_TEST_IMAGES") else ["test_images.py", "test_kube_play.py"]

BIN = Path(sys.executable).parent


@dataclass(frozen=True)
class Trained:
    """A run of one epoch, and the repository that it was published into as version 1; leave both as they are."""

    run: Path
    repository: Path


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Train as a user does, from the command line."""
    folder = tmp_path_factory.mktemp("trained")
    trained = Trained(folder / "run", folder / "repository")
    subprocess.run(
        [
            *(BIN / "digit-trainer", "train", "--recipe", "digits", "--data", "sample", "--epochs", "1"),
            *("--repository", trained.repository, "--run-dir", trained.run),
        ],
        check=True,
    )
    return trained
