"""The one line with which a version is refused."""

from collections.abc import Callable
from pathlib import Path

import pytest

from server.errors import RefusedError


def refusal(load: Callable[[Path], object], folder: Path) -> str:
    with pytest.raises(RefusedError) as caught:
        load(folder)
    message = str(caught.value)
    assert "\n" not in message
    return message
