"""A model repository that changes."""

from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Publish
from tests.integration.server.versions.watching import Arrive


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """An empty model repository."""
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


@pytest.fixture
def arrive(repository: Path, tmp_path: Path, publish: Publish) -> Arrive:
    """Publish a version as the trainer does: complete, by one rename."""

    def rename(version: int = 1, model: str = "digits", **changes: Any) -> Path:
        complete = publish(tmp_path / "unfinished", model=model, version=version, **changes)
        (repository / model).mkdir(exist_ok=True)
        return complete.rename(repository / model / str(version))

    return rename
