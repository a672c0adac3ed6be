"""Model repositories that vanish, are swapped by links, or are none."""

import shutil
from pathlib import Path

from tests.conftest import Publish
from tests.integration.server.versions.watching import IMAGE, Arrive, watching
from tests.process import ServerProcess


def test_repository_may_vanish_and_come_back(repository: Path, arrive: Arrive, tmp_path: Path) -> None:
    arrive(1)
    with watching(repository, poll=0.02) as server:
        repository.rename(tmp_path / "gone")
        # A scan under way may find the version without its files first.
        gone = f"model repository {repository} cannot be read: No such file or directory"
        while server.event("repository problem")["problem"] != gone:
            continue
        repository.mkdir()  # where a volume was unmounted, its mount point stays
        assert server.event("repository problem")["problem"].startswith(
            f"model repository {repository} has no models, "
        )
        assert server.predict(IMAGE).version == 1
        assert server.get("/readyz")[0] == 200
        repository.rmdir()
        (tmp_path / "gone").rename(repository)
        arrive(2)
        server.serves(2)
        assert server.predict(IMAGE).version == 2
        assert server.metric("digits_repository_problems") == 0


def test_mount_that_is_swapped_by_a_link_is_followed(tmp_path: Path, publish: Publish) -> None:
    """A volume as Kubernetes updates it: every entry is a link through `..data`, which is renamed over."""
    mount = tmp_path / "mount"
    publish(mount / "..first", version=1)
    (mount / "..data").symlink_to("..first")
    (mount / "digits").symlink_to("..data/digits")
    with watching(mount, poll=0.02) as server:
        assert server.predict(IMAGE).version == 1
        publish(mount / "..second", version=1)  # the same number with other files
        shutil.copytree(publish(tmp_path / "elsewhere", version=2), mount / "..second" / "digits" / "2")
        (mount / "..new").symlink_to("..second")
        (mount / "..new").rename(mount / "..data")
        shutil.rmtree(mount / "..first")
        server.serves(2)
        assert server.predict(IMAGE).version == 2
        assert not [line for line in server.lines if "refused" in line]


def test_repository_that_is_a_link_is_followed(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path / "release-1", version=1)
    publish(tmp_path / "release-2", version=2)
    current = tmp_path / "current"
    current.symlink_to("release-1")
    with watching(current, poll=0.02) as server:
        (tmp_path / "next").symlink_to("release-2")
        (tmp_path / "next").rename(current)
        server.serves(2)
        assert server.states() == {2: "STATE_SERVING"}


def test_nothing_is_written_into_the_repository(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    arrive(2, metrics={})
    before = {path: path.stat().st_mtime_ns for path in [repository, *repository.rglob("*")]}
    with watching(repository, poll=0.02) as server:
        server.predict(IMAGE)
    assert {path: path.stat().st_mtime_ns for path in [repository, *repository.rglob("*")]} == before


def test_repository_that_is_none_names_the_next_step(repository: Path, arrive: Arrive) -> None:
    version = arrive(1)
    for given, message in (
        (
            repository / "digits",
            "is the folder of one model, with version 1; the repository is the folder above it",
        ),
        (
            version / "model.onnx",
            "is a file, expected folders MODEL/VERSION with manifest.json and model.onnx",
        ),
    ):
        server = ServerProcess("--model-repository", given)
        assert server.wait() == 1
        assert message in server.lines[-1]
