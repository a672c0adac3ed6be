"""Fake versions, batchers and metrics."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from server.versions.served_model import Serving


class FakeBatcher:
    """A batcher without calls."""

    def __init__(self) -> None:
        self.alive = True
        self.inflight_images = 0

    def close(self, released: Callable[[], None]) -> None:
        self.alive = False
        released()


class FakeMetrics:
    """Metrics that remember what the tests ask for."""

    def __init__(self, changed: Callable[[], None] = lambda: None) -> None:
        self.changed = changed
        self.refusals = 0
        self.wrong = 0
        self.forgotten: list[tuple[str, int]] = []

    def refused(self) -> None:
        self.refusals += 1

    def problems(self, count: int) -> None:
        self.wrong = count
        self.changed()

    def forget(self, name: str, version: int) -> None:
        self.forgotten.append((name, version))

    def watch(self, batchers: object) -> None: ...

    def serving(self, infos: object) -> None: ...

    def labelled(self, labels: object) -> None: ...


def serving(version: int, name: str = "digits") -> Serving:
    """Return a version that serves."""
    model: Any = SimpleNamespace(
        name=name,
        version=version,
        sha256="",
        provider="cpu",
        precision="float32",
        graph=SimpleNamespace(test_accuracy=0.5),
    )
    batcher: Any = FakeBatcher()
    return Serving(model, batcher)
