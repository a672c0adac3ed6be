import base64
import json
import multiprocessing
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.runs import make_run
from trainer.errors import GateRefused, TrainerError
from trainer.repository.manifest import source_commit
from trainer.repository.publish import Destination
from trainer.repository.publish import publish as publish_to
from trainer.repository.versions import labels, point, point_back, versions
from trainer.run import Run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run")


def publish(run: Run, repository: Path, **options: Any) -> Path:
    return publish_to(run, Destination(repository=repository, **options))


def publish_five(run: Run, repository: Path) -> None:
    for _ in range(5):
        publish(run, repository)


def test_manifest_holds_what_the_contract_says(run: Run, tmp_path: Path) -> None:
    folder = publish(run, tmp_path / "repository")
    table = json.loads((folder / "manifest.json").read_text())
    assert " ".join(table) == (
        "schema model version created recipe seed parameters data libraries "
        "source_commit inputs outputs metrics files golden"
    )
    assert (table["model"], table["version"]) == ("digits", 1)
    assert set(table["files"]) == {"model.onnx", "report/misclassified.tsv"}
    assert table["files"]["model.onnx"]["bytes"] == 5


def test_golden_set_is_four_of_each_digit(run: Run, tmp_path: Path) -> None:
    golden = json.loads((publish(run, tmp_path) / "manifest.json").read_text())["golden"]
    assert len(base64.b64decode(golden["images"])) == 40 * 784
    assert sorted(golden["digits"]) == sorted(list(range(10)) * 4)
    assert [np.argmax(row) for row in golden["probabilities"]] == golden["digits"]


def test_removed_version_is_not_given_again(run: Run, tmp_path: Path) -> None:
    shutil.rmtree([publish(run, tmp_path / "r") for _ in range(2)][-1])
    assert publish(run, tmp_path / "r").name == "3"


def test_version_put_there_by_hand_is_counted(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r" / "digits" / "41").mkdir(parents=True)
    assert publish(run, tmp_path / "r").name == "42"


def test_publishers_at_once_never_collide(run: Run, tmp_path: Path) -> None:
    spawn = multiprocessing.get_context("spawn")
    publishers = [spawn.Process(target=publish_five, args=(run, tmp_path / "r")) for _ in range(3)]
    for publisher in publishers:
        publisher.start()
    for publisher in publishers:
        publisher.join()
        assert publisher.exitcode == 0
    versions = [entry for entry in (tmp_path / "r" / "digits").iterdir() if entry.is_dir()]
    assert sorted(int(version.name) for version in versions) == list(range(1, 16))
    for version in versions:
        assert json.loads((version / "manifest.json").read_text())["version"] == int(version.name)


def test_model_that_is_not_the_runs_own_is_refused(run: Run, tmp_path: Path) -> None:
    run.model.write_bytes(b"other")
    with pytest.raises(TrainerError, match=r"model\.onnx: not the file that the run wrote"):
        publish(run, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_what_a_killed_publisher_left_is_removed(run: Run, tmp_path: Path) -> None:
    left = tmp_path / "r" / "digits" / ".publishing-abc"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    publish(run, tmp_path / "r")
    assert not left.exists()


@pytest.mark.parametrize(("wrong", "refused"), [(10, False), (15, False), (16, True), (0, False)])
def test_run_significantly_worse_than_stable_is_refused(
    run: Run, tmp_path: Path, wrong: int, refused: bool
) -> None:
    publish(run, tmp_path / "r", label="stable")
    candidate = make_run(tmp_path / "candidate", wrong)
    if refused:
        # 16 - 10 = 6 images, all against it: p = 2 / 2**6
        with pytest.raises(GateRefused, match=r"worse than version 1: 6 test images .* \(p = 0\.031\)"):
            publish(candidate, tmp_path / "r", no_worse_than_stable=True)
    else:
        assert publish(candidate, tmp_path / "r", no_worse_than_stable=True).name == "2"


def test_runs_tested_on_other_images_are_not_compared(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r", label="stable")
    candidate = make_run(tmp_path / "candidate", test_sha256="1" * 64)
    with pytest.raises(GateRefused, match=r"tested on other images .* cannot be compared"):
        publish(candidate, tmp_path / "r", no_worse_than_stable=True)


@pytest.mark.parametrize("name", ["²", "07", "0", "-1", "1.5", "٣"])
def test_only_positive_decimal_integers_are_versions(name: str, tmp_path: Path) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / "7").write_text("a file")
    assert versions(tmp_path) == []
    (tmp_path / "8").mkdir()
    assert versions(tmp_path) == [8]


def test_commit_is_that_of_the_package_or_none(tmp_path: Path) -> None:
    """A package that is installed in another project's checkout is not that project's."""
    package = tmp_path / "venv" / "trainer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    assert source_commit(package) is None

    def git(*words: str) -> None:
        subprocess.run(["git", "-C", str(tmp_path), *words], check=True, capture_output=True)  # noqa: S607  # from PATH

    git("init", "-q")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "--allow-empty", "-m", "other")
    assert source_commit(package) is None
    git("add", ".")
    git("-c", "user.name=n", "-c", "user.email=e@example.org", "commit", "-q", "-m", "own")
    assert len(source_commit(package) or "") == 40
    (package / "__init__.py").write_text("changed")
    assert (source_commit(package) or "").endswith("-dirty")


def test_label_goes_back_step_by_step(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "r" / "digits"
    for _ in range(3):
        publish(run, tmp_path / "r", label="stable")
    assert point_back(folder, "stable") == (3, 2)
    assert point_back(folder, "stable") == (2, 1)
    with pytest.raises(TrainerError, match="never pointed at another version than 1"):
        point_back(folder, "stable")
    point(folder, "stable", 3)
    assert point_back(folder, "stable") == (3, 1)
    assert labels(folder) == {"stable": 1}


def test_label_cannot_point_at_a_version_that_is_not_there(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r")
    with pytest.raises(TrainerError, match="available versions: 1"):
        point(tmp_path / "r" / "digits", "stable", 7)


def test_unknown_label_lists_the_known_ones(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r", label="canary")
    with pytest.raises(TrainerError, match="no label stable; available: canary"):
        point_back(tmp_path / "r" / "digits", "stable")


def test_canary_gets_its_share_and_loses_it_when_it_moves(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "r" / "digits"
    publish(run, tmp_path / "r", label="stable")
    publish(run, tmp_path / "r", label="canary", share=0.05)
    written = folder / "labels.json"
    assert json.loads(written.read_text()) == {"canary": {"version": 2, "share": 0.05}, "stable": 1}
    point(folder, "canary", 2, 0.25)
    point(folder, "stable", 2)
    assert json.loads(written.read_text()) == {"canary": {"version": 2, "share": 0.25}, "stable": 2}
    assert labels(folder) == {"canary": 2, "stable": 2}
    publish(run, tmp_path / "r", label="canary")
    assert json.loads(written.read_text()) == {"canary": 3, "stable": 2}
    assert point_back(folder, "canary") == (3, 2)


@pytest.mark.parametrize("text", ["[1]", '{"stable": "new"}', '{"stable": {"share": 0.1}}', "{"])
def test_damaged_labels_are_named(run: Run, tmp_path: Path, text: str) -> None:
    folder = publish(run, tmp_path / "r").parent
    (folder / "labels.json").write_text(text)
    with pytest.raises(TrainerError, match=r"labels\.json: damaged, expected"):
        labels(folder)
