"""The versions that should serve for a repository."""

from collections.abc import Collection
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from server.versions.policy import Plan, parse_policies, plan
from server.versions.repository import Label, ModelFolder


def planned(
    versions: Collection[int],
    labels: dict[str, Any] | None = None,
    *,
    policy: str = "latest:1",
    refused: Collection[int] = (),
    before: dict[str, Label] | None = None,
) -> Plan:
    on_disk = {
        name: entry if isinstance(entry, Label) else Label(entry) for name, entry in (labels or {}).items()
    }
    folder = ModelFolder(dict.fromkeys(sorted(versions, reverse=True), ()), on_disk)
    return plan(folder, parse_policies([policy])[""], refused, before or {})


def test_newest_version_that_is_not_refused_serves() -> None:
    assert planned([1, 2, 3]).versions == [3]
    assert planned([1, 2, 3], refused=[3]).versions == [2]
    assert planned([1], refused=[1]).versions == []
    assert planned([]).versions == []


def test_labelled_version_serves_beside_what_the_policy_asks_for() -> None:
    chosen = planned([1, 2, 3, 4], {"stable": 2})
    assert (chosen.versions, chosen.labels) == ([4, 2], {"stable": Label(2)})


def test_version_on_trial_does_not_push_out_the_latest() -> None:
    assert planned([3, 4], {"canary": Label(4, 0.05)}).versions == [4, 3]
    assert planned([3, 4], {"canary": Label(4, 0.0)}).versions == [4, 3]


def test_label_to_nowhere_is_named_and_stays_where_it_was() -> None:
    chosen = planned([1, 2], {"stable": 9}, before={"stable": Label(1)})
    assert (chosen.versions, chosen.labels) == ([2, 1], {"stable": Label(1)})
    assert chosen.problems == ["label 'stable' points at version 9, which does not exist"]
    assert planned([1, 2], {"stable": 9}).labels == {}


def test_label_to_a_refused_version_is_named_and_stays_where_it_was() -> None:
    chosen = planned([1, 2], {"stable": 2}, refused=[2], before={"stable": Label(1)})
    assert (chosen.versions, chosen.labels) == ([1], {"stable": Label(1)})
    assert chosen.problems == ["label 'stable' points at version 2, which is refused"]


def test_label_to_a_version_that_the_policy_excludes_is_named() -> None:
    chosen = planned([1, 2, 3], {"canary": 3}, policy="specific:1,2")
    assert (chosen.versions, chosen.labels) == ([2, 1], {})
    assert chosen.problems == [
        "label 'canary' points at version 3, which the policy specific:1,2 does not serve"
    ]


def test_unreadable_labels_leave_those_in_force() -> None:
    folder = ModelFolder({2: (), 1: ()}, None)
    chosen = plan(folder, parse_policies([])[""], [], {"stable": Label(1)})
    assert (chosen.versions, chosen.labels) == ([2, 1], {"stable": Label(1)})


def test_removed_label_is_gone() -> None:
    assert planned([1, 2], {}, before={"stable": Label(1)}) == Plan([2], {}, [])


numbers = st.integers(1, 6)
labels = st.dictionaries(
    st.sampled_from(["stable", "canary", "old"]),
    st.builds(Label, numbers, st.sampled_from([None, 0.0, 0.1])),
)


@given(
    versions=st.sets(numbers),
    on_disk=labels,
    before=labels,
    refused=st.sets(numbers),
    policy=st.sampled_from(["latest:1", "latest:3", "all", "specific:2,3"]),
)
def test_only_usable_versions_serve_and_labels_point_only_at_them(
    versions: set[int], on_disk: dict[str, Label], before: dict[str, Label], refused: set[int], policy: str
) -> None:
    chosen = planned(versions, on_disk, policy=policy, refused=refused, before=before)
    assert set(chosen.versions) <= versions - refused
    assert {label.version for label in chosen.labels.values()} <= set(chosen.versions)
    assert chosen.labels.keys() <= on_disk.keys()
    assert chosen.versions == sorted(chosen.versions, reverse=True)
