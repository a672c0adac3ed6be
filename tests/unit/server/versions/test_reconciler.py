"""The reconciler on its thread: starts, swaps, hangs and stops, with real files and fake batchers."""

import json
import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from structlog.testing import capture_logs

from server.errors import StartError
from server.model.model import Model
from server.observability.metrics import Metrics
from server.versions import reconciler as module
from server.versions.reconciler import Reconciler
from server.versions.registry import Registry
from server.versions.repository import ModelFolder
from tests.conftest import Publish
from tests.unit.server.versions.fakes import FakeBatcher

WAIT_SECONDS = 60.0


class Reconciled:
    """A reconciler of a repository that changes, and what its tests wait for."""

    def __init__(self, repository: Path, **settings: Any) -> None:
        self.repository = repository
        self.changed = threading.Condition()
        self.hanging: dict[str, threading.Event] = {}  # loads, by model/version, until the event
        self.loads: list[str] = []
        self.releases: list[Callable[[], None]] = []
        metrics = Metrics()
        self.registry = Registry("digits", metrics)
        self.registry.on_change = self._notify
        self.registry.open()
        chosen: Any = SimpleNamespace(
            model_repository=repository,
            version_policy=("latest:1",),
            repository_poll_seconds=0,
            default_model="",
            provider="cpu",
            provider_options={},
            precision="float32",
            max_batch_images=8,
        )
        vars(chosen).update(settings)
        self.reconciler = Reconciler(
            chosen, self.registry, metrics, make_batcher=self._make_batcher, call_soon=self._call_soon
        )

    def _notify(self) -> None:
        with self.changed:
            self.changed.notify_all()

    def _make_batcher(self, model: Model) -> Any:
        title = f"{model.name}/{model.version}"
        self.loads.append(title)
        self._notify()
        if title in self.hanging:
            self.hanging[title].wait()
        return FakeBatcher()

    def _call_soon(self, function: Callable[[], None]) -> None:
        function()
        self.releases.append(function)
        self._notify()

    def wait(self, true: Callable[[], bool]) -> None:
        """Wait until something is true."""
        with self.changed:
            assert self.changed.wait_for(true, WAIT_SECONDS)

    def serves(self, *versions: int, model: str = "digits") -> None:
        """Look at the repository, and wait until these versions serve."""
        self.reconciler.wake()
        self.wait(
            lambda: (
                model in self.registry.models and list(self.registry.models[model].versions) == list(versions)
            )
        )

    def failure(self) -> str:
        with pytest.raises(StartError) as caught:
            self.reconciler.start()
        return str(caught.value)


@pytest.fixture
def reconciled(tmp_path: Path) -> Iterator[Callable[..., Reconciled]]:
    made: list[Reconciled] = []

    def make(repository: Path = tmp_path, **settings: Any) -> Reconciled:
        made.append(Reconciled(repository, **settings))
        return made[-1]

    yield make
    for each in made:
        each.reconciler.close()
        for hanging in each.hanging.values():
            hanging.set()


Make = Callable[..., Reconciled]


def test_other_model_whose_load_hangs_delays_the_start_and_no_more(
    tmp_path: Path, publish: Publish, reconciled: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_OTHERS_SECONDS", 0.01)
    publish(tmp_path)
    publish(tmp_path, model="letters")
    server = reconciled()
    server.hanging["letters/1"] = threading.Event()
    with capture_logs() as logs:
        server.reconciler.start()
    assert [each["models"] for each in logs if each["event"] == "models still loading"] == [["letters"]]
    server.hanging["letters/1"].set()
    server.wait(lambda: server.registry.serves("letters"))


def test_stop_ends_a_start_that_waits_for_a_load(tmp_path: Path, publish: Publish, reconciled: Make) -> None:
    publish(tmp_path)
    server = reconciled()
    server.hanging["digits/1"] = threading.Event()
    failures: list[str] = []
    starting = threading.Thread(target=lambda: failures.append(server.failure()))
    starting.start()
    server.wait(lambda: bool(server.loads))
    server.reconciler.close()
    starting.join(WAIT_SECONDS)
    assert failures == ["the server is stopping"]


def test_stop_does_not_wait_for_a_mount_that_hangs(reconciled: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    scanning, never = threading.Event(), threading.Event()

    def hang(_: Path) -> dict[str, ModelFolder]:
        scanning.set()
        never.wait()
        return {}

    monkeypatch.setattr(module, "scan", hang)
    server = reconciled()
    failures: list[str] = []
    starting = threading.Thread(target=lambda: failures.append(server.failure()))
    starting.start()
    assert scanning.wait(WAIT_SECONDS)
    server.reconciler.close()
    starting.join(WAIT_SECONDS)
    assert failures == ["the server is stopping"]
    assert all(each.daemon for each in threading.enumerate() if each.name == "repository scan")
    never.set()


def test_files_that_were_touched_are_not_loaded_again(
    tmp_path: Path, publish: Publish, reconciled: Make
) -> None:
    folder = publish(tmp_path, version=1)
    server = reconciled()
    server.reconciler.start()
    before = server.registry.find("")
    for file in folder.iterdir():
        os.utime(file, ns=(1, 1))
    publish(tmp_path, model="letters")
    server.serves(1, model="letters")
    publish(tmp_path, model="letters", version=2)
    server.serves(2, model="letters")  # a second scan later, the touched files were read
    assert server.registry.find("") is before
    assert server.loads.count("digits/1") == 1
    content = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(content | {"recipe": "another"}))
    server.reconciler.wake()
    server.wait(lambda: server.registry.find("") is not before)
    assert server.registry.find("").model.manifest.recipe == "another"


@pytest.mark.parametrize(("models", "default"), [(["letters", "signs"], ""), (["letters"], "digits")])
def test_default_model_that_is_not_there_ends_the_start(
    tmp_path: Path, publish: Publish, reconciled: Make, models: list[str], default: str
) -> None:
    for model in models:
        publish(tmp_path, model=model)
    assert reconciled(default_model=default).failure() == (
        f"model repository {tmp_path} has no model 'digits'; available: {', '.join(models)}; "
        "the setting default_model names the one for requests that name none"
    )


def test_model_behind_a_link_out_of_the_repository_ends_the_start_by_name(
    tmp_path: Path, publish: Publish, reconciled: Make
) -> None:
    publish(tmp_path / "outside")
    (tmp_path / "repository").mkdir()
    (tmp_path / "repository" / "digits").symlink_to(tmp_path / "outside" / "digits")
    assert reconciled(tmp_path / "repository").failure() == (
        f"no version of model 'digits' in {tmp_path}/repository can serve: its folder is a link to "
        f"{tmp_path}/outside/digits, which is outside the repository"
    )
