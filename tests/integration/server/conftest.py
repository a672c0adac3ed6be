"""Fixtures of the tests of a running server."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Publish
from tests.process import RunningServer


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Path:
    """A model repository with one version of one model."""
    folder = tmp_path_factory.mktemp("repository")
    publish(folder)
    return folder


@pytest.fixture(scope="module")
def client(server: RunningServer) -> Iterator[Any]:
    """A tritonclient of the module's server."""
    from tritonclient import grpc as triton  # noqa: PLC0415 - a module without it is skipped before

    with triton.InferenceServerClient(server.address) as client:
        yield client
