"""Swaps of one model, with versions that are arithmetic."""

import asyncio
import weakref
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from numpy.typing import NDArray

from server.batcher import Batcher
from server.errors import NotFoundError
from server.labels import Label
from server.manifest import RefusedError
from server.metrics import Metrics
from server.models import Models
from server.policy import Policies
from server.repository import ModelFolder
from server.rollout import Rollout
from server.roster import Roster, Serving

IMAGE = bytes(784)


class FakeModel:
    """A version that predicts its own number."""

    def __init__(self, version: int) -> None:
        self.name, self.version, self.sha256, self.provider = "digits", version, "", "cpu"
        self.manifest = SimpleNamespace(model="digits", version=version)
        self.graph = SimpleNamespace(precision="float32", test_accuracy=0.5)

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        return np.eye(10, dtype=np.float32)[[self.version] * len(images)]


class Loader:
    """Loads fake versions, refuses those that it is told to, and remembers what it was asked."""

    def __init__(self, *refuse: int) -> None:
        self.refuse = set(refuse)
        self.asked: list[int] = []

    async def __call__(self, version: int) -> Serving:
        self.asked.append(version)
        if version in self.refuse:
            raise RefusedError(f"version {version} is bad")
        return serving(version)


def serving(version: int) -> Serving:
    model: Any = FakeModel(version)
    batcher = Batcher(model, Metrics().loaded("digits", version), max_batch_images=8, max_queue_images=100)
    return Serving(model, batcher)


def rollout(load: Loader, policy: str = "latest:1") -> Rollout:
    return Rollout("digits", Policies.parse([policy]).of("digits"), load)


def folder(*versions: int, state: int = 1, **labels: Label) -> ModelFolder:
    fingerprint = (("model.onnx", state, 0, 0),)
    return ModelFolder(dict.fromkeys(sorted(versions, reverse=True), fingerprint), labels)


async def test_swap_keeps_the_old_version_until_the_new_one_is_proven() -> None:
    following = rollout(Loader(2))
    roster, unused, problems = await following.settle(folder(1))
    assert (list(roster.versions), unused, problems) == ([1], [], [])
    roster, unused, problems = await following.settle(folder(1, 2))
    assert (list(roster.versions), unused) == ([1], [])
    assert problems == ["version 2: version 2 is bad"]
    roster, unused, _ = await following.settle(folder(1, 3))
    assert list(roster.versions) == [3]
    assert [each.model.version for each in unused] == [1]


async def test_refused_version_is_tried_once_for_each_state_of_its_files() -> None:
    load = Loader(2)
    following = rollout(load)
    for _ in range(3):
        await following.settle(folder(1, 2))
    assert load.asked == [2, 1]
    await following.settle(folder(1, 2, state=2))
    assert load.asked == [2, 1, 2, 1]  # both have changed
    following.forget_refusals()
    await following.settle(folder(1, 2, state=2))
    assert load.asked == [2, 1, 2, 1, 2]


async def test_version_whose_files_turned_bad_keeps_serving_as_it_was_loaded() -> None:
    load = Loader()
    following = rollout(load)
    before, _, _ = await following.settle(folder(1))
    load.refuse = {1}
    after, unused, problems = await following.settle(folder(1, state=2))
    assert after.versions == before.versions
    assert (unused, problems) == ([], ["version 1: version 1 is bad"])


async def test_call_in_flight_is_answered_by_its_version_which_then_goes() -> None:
    models = Models("digits", Metrics(), changed=lambda: None)
    models.open()
    models.replace(Roster.of("digits", {1: serving(1)}, {}))
    old = models.find("")
    gone = weakref.ref(old.model)
    future = old.batcher.submit(IMAGE, 1)
    models.replace(Roster.of("digits", {2: serving(2)}, {}))
    assert (await models.find("").batcher.submit(IMAGE, 1)).digits == [2]
    closing = asyncio.create_task(old.batcher.close())
    del old
    assert (await future).digits == [1]
    await closing
    del closing, future
    assert gone() is None  # without the garbage collector


async def test_shares_are_kept_exactly_and_without_a_period() -> None:
    models = Models("digits", Metrics(), changed=lambda: None)
    models.open()
    labels = {"stable": Label(1), "canary": Label(2, 0.25), "next": Label(3, 0.05)}
    models.replace(Roster.of("digits", {1: serving(1), 2: serving(2), 3: serving(3)}, labels))
    found = [models.find("").model.version for _ in range(1000)]
    assert [found.count(version) for version in (1, 2, 3)] == pytest.approx([700, 250, 50], abs=3)
    every_other = found[::2]
    assert every_other.count(2) == pytest.approx(125, abs=3)


@pytest.mark.parametrize(
    ("labels", "default"),
    [
        ({}, 3),
        ({"stable": Label(1)}, 1),
        ({"canary": Label(3, 0.1)}, 2),
        ({"canary": Label(3, 0.0)}, 2),
        ({"canary": Label(3)}, 3),
        ({"a": Label(1, 0.1), "b": Label(2, 0.1), "c": Label(3, 0.1)}, 3),
    ],
)
async def test_unlabelled_requests_go_to_stable_or_the_newest_that_is_not_on_trial(
    labels: dict[str, Label], default: int
) -> None:
    roster = Roster.of("digits", {each: serving(each) for each in (1, 2, 3)}, labels)
    assert roster.settled().model.version == default


def test_model_without_a_version_says_why() -> None:
    refused: Any = SimpleNamespace(version=3, reason="it is bad")
    roster = Roster.of("digits", {}, {}, cast("Any", (refused,)))
    with pytest.raises(NotFoundError, match="no version of model 'digits' serves; version 3: it is bad"):
        roster.settled()
    with pytest.raises(NotFoundError, match="model 'digits' serves no version, not 3"):
        roster.named(3, "")
