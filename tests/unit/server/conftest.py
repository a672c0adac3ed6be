"""Fixtures of the server's unit tests."""

import pytest

from server.observability.logs import configure


@pytest.fixture(autouse=True)
def _log() -> None:
    configure("json", "info")
