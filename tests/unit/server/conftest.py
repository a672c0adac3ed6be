"""What the server's unit tests share."""

import pytest

from server.observability.logs import configure


@pytest.fixture(autouse=True)
def _log() -> None:
    configure("json", "info")
