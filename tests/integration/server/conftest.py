"""Fixtures of the tests of a running server."""

from pathlib import Path

import pytest

from tests.conftest import Publish


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Path:
    """A model repository with one version of one model."""
    folder = tmp_path_factory.mktemp("repository")
    publish(folder)
    return folder
