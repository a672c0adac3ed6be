"""Loading and unloading of models by callers (Triton's explicit model control)."""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

Folder = TypeVar("Folder")
# Called once, with the error or an empty string.
Then = Callable[[str], None]


class ModelControl:
    """The unloaded models, and callers that wait for a change to take effect."""

    def __init__(self) -> None:
        self._unloaded: set[str] = set()
        self._asked: dict[str, list[tuple[float, Then]]] = {}

    def ask(self, name: str, *, load: bool, then: Then) -> None:
        """Load or unload a model at the next scan of the repository."""
        (self._unloaded.discard if load else self._unloaded.add)(name)
        self._asked.setdefault(name, []).append((time.monotonic(), then))

    def wanted(self, found: Mapping[str, Folder]) -> dict[str, Folder]:
        """Return the models on disk that are not unloaded."""
        return {name: folder for name, folder in found.items() if name not in self._unloaded}

    def answer(self, scanned: float, failure: Callable[[str], str | None]) -> None:
        """Answer the changes that were requested before a scan started.

        `failure` returns why a model does not serve: empty if it serves, None while it is loading.
        """
        for name, asked in list(self._asked.items()):
            problem = "" if name in self._unloaded else failure(name)
            if problem is None:
                continue
            for _, then in (due := [each for each in asked if each[0] < scanned]):
                then(problem)
            if left := asked[len(due) :]:
                self._asked[name] = left
            else:
                del self._asked[name]
