"""Fake versions and batchers."""

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
