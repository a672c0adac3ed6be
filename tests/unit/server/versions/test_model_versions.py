"""Swaps of one model: loads, refusals and releases, without threads or files."""

import gc
import weakref

from hypothesis import given
from hypothesis import strategies as st

from server.versions.model_versions import MAX_LOADS, Load, ModelVersions
from server.versions.policy import parse_policies
from server.versions.repository import Label, ModelFolder
from server.versions.served_model import ServedModel, Serving
from tests.unit.server.versions.fakes import serving


class Rollout(ModelVersions):
    """A model whose loads end at once, unless a test ends them itself."""

    def __init__(self, *refuse: int, policy: str = "latest:1") -> None:
        super().__init__("digits", parse_policies([policy])[""])
        self.refuse = set(refuse)
        self.asked: list[int] = []

    def find(self, *versions: int, state: int = 1, **labels: Label) -> None:
        fingerprint = (("model.onnx", state, 0, 0),)
        self.found = ModelFolder(dict.fromkeys(sorted(versions, reverse=True), fingerprint), labels)

    def run(self, *versions: int, state: int = 1, **labels: Label) -> tuple[list[int], list[int], list[str]]:
        """Find versions on disk, load them; return those that serve, those released, and the problems."""
        self.find(*versions, state=state, **labels)
        while (load := self.next_load()) is not None:
            self.asked.append(load.version)
            if load.version in self.refuse:
                self.refused(load, f"{load.version} is bad")
            else:
                self.loaded(load, serving(load.version))
        return self.state()

    def state(self) -> tuple[list[int], list[int], list[str]]:
        served, unused, problems = self.settle()
        return list(served.versions), [each.model.version for each in unused], problems

    def begin(self) -> Load:
        load = self.next_load()
        assert load is not None
        return load


def labels_of(served: ServedModel) -> dict[str, int]:
    return {name: label.version for name, label in served.labels.items()}


def test_old_version_serves_until_the_new_one_is_verified() -> None:
    model = Rollout(2)
    assert model.run(1) == ([1], [], [])
    assert model.run(1, 2) == ([1], [], ["version 2: 2 is bad"])
    assert model.run(1, 3) == ([3], [1], [])


def test_refused_version_is_tried_once_for_each_state_of_its_files() -> None:
    model = Rollout(2)
    for _ in range(3):
        model.run(1, 2)
    assert model.asked == [2, 1]
    model.run(1, 2, state=2)
    assert model.asked == [2, 1, 2, 1]  # both have changed
    model.forget_refusals()
    model.run(1, 2, state=2)
    assert model.asked == [2, 1, 2, 1, 2]


def test_version_whose_files_turned_bad_keeps_serving_as_it_was_loaded() -> None:
    model = Rollout()
    model.run(1)
    model.refuse = {1}
    assert model.run(1, state=2) == ([1], [], ["version 1: 1 is bad"])
    model.refuse = set()
    assert model.run(1, state=3) == ([1], [1], [])


def test_files_that_were_touched_release_nothing() -> None:
    model = Rollout()
    model.run(1)
    model.find(1, state=2)
    load = model.begin()
    assert load.loaded is not None
    model.loaded(load, load.loaded)  # their content is the same
    assert model.state() == ([1], [], [])
    assert model.next_load() is None


def test_load_that_hangs_does_not_hold_up_labels() -> None:
    model = Rollout(policy="all")
    model.run(1, 2, stable=Label(2))
    model.find(1, 2, 3, stable=Label(2))
    model.begin()
    model.find(1, 2, 3, stable=Label(1))
    served, unused, problems = model.settle()
    assert (labels_of(served), unused, problems) == ({"stable": 1}, [], [])
    assert model.pending


def test_label_stays_until_its_version_is_loaded_even_if_the_old_files_are_gone() -> None:
    model = Rollout()
    model.run(1, stable=Label(1))
    model.find(2, stable=Label(2))  # a volume that was swapped as a whole
    load = model.begin()
    served, _, problems = model.settle()
    assert (list(served.versions), labels_of(served), problems) == ([1], {"stable": 1}, [])
    model.loaded(load, serving(2))
    served, unused, _ = model.settle()
    assert (labels_of(served), [each.model.version for each in unused]) == ({"stable": 2}, [1])


def test_load_that_is_not_wanted_any_more_does_not_hold_up_the_next() -> None:
    model = Rollout()
    model.run(1)
    model.find(1, 2)
    hanging = model.begin()
    assert model.next_load() is None  # it is under way
    model.find(1, 3)  # withdrawn
    model.loaded(model.begin(), serving(3))
    assert model.state() == ([3], [1], [])
    model.loaded(hanging, serving(2))  # it ends after all
    assert model.state() == ([3], [2], [])


def test_loads_that_hang_are_bounded() -> None:
    model = Rollout()
    for version in range(1, MAX_LOADS + 1):
        model.find(version)
        hanging = model.begin()
    model.find(MAX_LOADS + 1)
    assert model.next_load() is None
    model.refused(hanging, "it was interrupted")
    assert model.begin().version == MAX_LOADS + 1


def test_released_version_is_freed_without_the_garbage_collector() -> None:
    gc.disable()
    try:
        model = Rollout()
        model.find(1)
        load = model.begin()
        model.loaded(load, before := serving(1))
        gone = weakref.ref(before.batcher)
        del load, before
        model.settle()
        model.run(2)
        assert gone() is None
    finally:
        gc.enable()


numbers = st.integers(1, 4)
repositories = st.tuples(
    st.sets(numbers),
    st.integers(1, 2),
    st.dictionaries(
        st.sampled_from(["stable", "canary"]), st.builds(Label, numbers, st.sampled_from([None, 0.0, 0.5]))
    ),
)
ends = st.tuples(st.integers(0, MAX_LOADS), st.booleans())


@given(
    policy=st.sampled_from(["latest:1", "latest:2", "all", "specific:2,3"]),
    events=st.lists(st.one_of(repositories, ends), max_size=25),
)
def test_whatever_comes_and_ends_in_any_order_what_serves_is_whole(
    policy: str, events: list[tuple[set[int], int, dict[str, Label]] | tuple[int, bool]]
) -> None:
    model = Rollout(policy=policy)
    under_way: list[Load] = []
    serves: set[int] = set()  # by identity
    made: dict[int, Serving] = {}
    for event in events:
        if len(event) == 3:
            versions, state, labels = event
            model.find(*versions, state=state, **labels)
        elif under_way:
            which, good = event
            load = under_way.pop(which % len(under_way))
            if good:
                new = serving(load.version)
                made[id(new)] = new  # kept, so that no other gets its id
                model.loaded(load, new)
                serves.add(id(new))
            else:
                model.refused(load, "it is bad")
        if (started := model.next_load()) is not None:
            under_way.append(started)
        served, unused, _ = model.settle()
        assert {label.version for label in served.labels.values()} <= served.versions.keys()
        assert (served.default is None) == (not served.versions)
        released = {id(each) for each in unused}
        assert len(released) == len(unused)
        assert released <= serves  # once
        serves -= released
        assert {id(each) for each in served.versions.values()} == serves
    while under_way:  # in the end everything is tried
        model.refused(under_way.pop(), "it is bad")
        if (started := model.next_load()) is not None:
            under_way.append(started)
    model.settle()
    assert not model.pending
