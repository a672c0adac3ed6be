"""What the server's unit tests share."""

import pytest

from server.log import configure


@pytest.fixture(autouse=True)
def _log() -> None:
    configure("json", "info")
