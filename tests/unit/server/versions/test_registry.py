"""The version for a request: names, labels, shares."""

from typing import Any

import pytest

from protos.digits.v1 import prediction_pb2 as pb
from server.errors import InvalidRequestError, NotFoundError, UnavailableError
from server.observability.metrics import Metrics
from server.versions.registry import Registry
from server.versions.repository import Label
from server.versions.served_model import ServedModel, Serving
from tests.unit.server.versions.fakes import serving

CANARY = {"stable": Label(1), "canary": Label(2, 0.25)}


@pytest.fixture
def registry() -> Registry:
    opened = Registry("digits", Metrics())
    opened.open()
    return opened


def served(*versions: int, name: str = "digits", **labels: Label) -> ServedModel:
    return ServedModel.of(name, {each: serving(each, name) for each in versions}, labels)


def version_of(found: Serving) -> int:
    return found.model.version


def test_shares_are_kept_exactly_and_without_a_period(registry: Registry) -> None:
    registry.replace(served(1, 2, 3, **CANARY, next=Label(3, 0.05)))
    found = [version_of(registry.find("")) for _ in range(1000)]
    assert [found.count(version) for version in (1, 2, 3)] == pytest.approx([700, 250, 50], abs=3)
    assert found[::2].count(2) == pytest.approx(125, abs=3)


@pytest.mark.parametrize("others", [1, 2, 3, 12])
def test_calls_of_another_model_do_not_make_shares_uneven(registry: Registry, others: int) -> None:
    registry.replace(served(1, 2, **CANARY))
    registry.replace(served(1, 2, name="letters", **CANARY))
    found = []
    for _ in range(100):
        found.append(version_of(registry.find("")))
        for _ in range(others):
            registry.find("letters")
    for start in range(0, 100, 20):  # of any 20 in a row
        assert found[start : start + 20].count(2) == pytest.approx(5, abs=1)


def test_swap_is_seen_by_the_next_call_and_not_by_the_one_before(registry: Registry) -> None:
    changes: list[bool] = []
    registry.on_change = lambda: changes.append(registry.ready)
    registry.replace(served(1))
    before = registry.find("")
    snapshot = registry.models
    registry.replace(served(2))
    assert (version_of(before), version_of(registry.find(""))) == (1, 2)
    assert list(snapshot["digits"].versions) == [1]
    assert changes == [True, True]


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
def test_unlabelled_requests_go_to_stable_or_the_newest_that_is_not_on_trial(
    labels: dict[str, Label], default: int
) -> None:
    assert version_of(served(1, 2, 3, **labels).settled()) == default


def test_names_that_are_not_there_are_echoed_in_part_with_what_is_available(registry: Registry) -> None:
    registry.replace(served(1, 2, stable=Label(1)))
    for find, message in (
        (lambda: registry.find("x" * 20_000), "xxx...; available: digits"),
        (lambda: registry.find("", 0, "y" * 20_000), "yyy...; available: stable"),
        (lambda: registry.find("", 7), "version 7 of model 'digits' does not serve; available: 2, 1"),
    ):
        with pytest.raises(NotFoundError) as caught:
            find()
        assert str(caught.value).endswith(message)
        assert len(str(caught.value)) < 300
    with pytest.raises(InvalidRequestError, match="version 1 and label 'stable' are both set"):
        registry.find("", 1, "stable")


def test_list_of_what_is_available_is_bounded(registry: Registry) -> None:
    for number in range(300):
        registry.replace(ServedModel(f"model-{number:03}-{'z' * 200}"))
    with pytest.raises(NotFoundError) as caught:
        registry.find("nosuch")
    assert len(str(caught.value)) < 4000


def test_model_without_a_version_says_why() -> None:
    refused = pb.Model(version=3, reason="it is bad")
    empty = ServedModel.of("digits", {}, {}, (refused,))
    with pytest.raises(NotFoundError, match="no version of model 'digits' serves; version 3: it is bad"):
        empty.settled()
    with pytest.raises(NotFoundError, match="version 3 of model 'digits' does not serve; available: none"):
        empty.named(3, "")


def test_server_that_starts_or_stops_is_unavailable() -> None:
    registry = Registry("digits", Metrics())
    registry.replace(served(1))
    with pytest.raises(UnavailableError, match="the server is starting"):
        registry.find("")
    assert (registry.ready, registry.states) == (False, {"digits": False})
    registry.open()
    assert (registry.ready, registry.states) == (True, {"digits": True})
    registry.refuse()
    with pytest.raises(UnavailableError, match="the server is stopping"):
        registry.find("")


def test_version_whose_batcher_died_serves_no_more(registry: Registry) -> None:
    registry.replace(served(1))
    dead: Any = registry.find("").batcher
    dead.alive = False
    assert (registry.alive, registry.ready, registry.states) == (False, False, {"digits": False})
