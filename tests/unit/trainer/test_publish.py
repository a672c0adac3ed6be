import base64
import json
import multiprocessing
import shutil
from pathlib import Path

import numpy as np
import pytest

from trainer.errors import GateRefused, TrainerError
from trainer.evaluation.mistakes import write_mistakes
from trainer.manifest import DataFacts, Manifest, choose_golden, manifest_table
from trainer.publish import Gates, Label, publish, published_version
from trainer.repository import labels, point, point_back
from trainer.run import Run

TEST_IMAGES = 1000


def make_run(folder: Path, wrong: int = 10, model: bytes = b"graph", data_sha256: str = "0" * 64) -> Run:
    """A finished run whose model takes the first `wrong` test images for another digit."""
    run = Run(folder)
    run.report.mkdir(parents=True)
    run.model.write_bytes(model)
    images = np.arange(100 * 784, dtype=np.uint32).reshape(100, 784).astype(np.uint8)
    digits = np.arange(100) % 10
    manifest = Manifest(
        recipe="digits",
        seed=1,
        parameters=30_634,
        data=DataFacts("sample", data_sha256, 3600, 400, TEST_IMAGES),
        libraries={"python": "3"},
        source_commit=None,
        test_accuracy=1 - wrong / TEST_IMAGES,
        golden=choose_golden(images, digits, np.eye(10, dtype=np.float32)[digits]),
    )
    truth = np.zeros(TEST_IMAGES, dtype=np.int64)
    predicted = truth.copy()
    predicted[:wrong] = 3
    write_mistakes(run.report / "mistakes.tsv", truth, predicted)
    run.finish(manifest_table(manifest, folder), "fingerprint")
    return run


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return make_run(tmp_path / "run")


def publish_five(run: Run, repository: Path) -> None:
    for _ in range(5):
        publish(run, repository)


def test_manifest_holds_what_the_contract_says(run: Run, tmp_path: Path) -> None:
    folder = publish(run, tmp_path / "repository")
    table = json.loads((folder / "manifest.json").read_text())
    assert " ".join(table) == (
        "schema model version created recipe seed parameters data libraries source_commit inputs outputs "
        "metrics files golden"
    )
    assert (table["model"], table["version"]) == ("digits", 1)
    assert set(table["files"]) == {"model.onnx", "report/mistakes.tsv"}
    assert table["files"]["model.onnx"]["bytes"] == 5


def test_golden_set_is_four_of_each_digit(run: Run, tmp_path: Path) -> None:
    golden = json.loads((publish(run, tmp_path) / "manifest.json").read_text())["golden"]
    assert len(base64.b64decode(golden["images"])) == 40 * 784
    assert sorted(golden["digits"]) == sorted(list(range(10)) * 4)
    assert [np.argmax(row) for row in golden["probabilities"]] == golden["digits"]


def test_versions_count_up(run: Run, tmp_path: Path) -> None:
    assert [publish(run, tmp_path / "r").name for _ in range(3)] == ["1", "2", "3"]


def test_version_goes_by_the_name_it_is_published_under(run: Run, tmp_path: Path) -> None:
    folder = publish(run, tmp_path / "r", model="mine")
    assert folder == tmp_path / "r" / "mine" / "1"
    assert json.loads((folder / "manifest.json").read_text())["model"] == "mine"


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
    with pytest.raises(TrainerError, match=r"model\.onnx: not the file that its run made"):
        publish(run, tmp_path / "r")
    assert not (tmp_path / "r").exists()


def test_folder_that_is_no_finished_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"manifest\.json: No such file .*, expected a finished run"):
        publish(Run(tmp_path), tmp_path / "r")


def test_repository_that_is_a_file_is_named(run: Run, tmp_path: Path) -> None:
    (tmp_path / "r").write_text("")
    with pytest.raises(TrainerError, match="cannot publish: Not a directory"):
        publish(run, tmp_path / "r")


def test_what_a_killed_publisher_left_is_removed(run: Run, tmp_path: Path) -> None:
    left = tmp_path / "r" / "digits" / ".publishing-abc"
    left.mkdir(parents=True)
    (left / "model.onnx").write_bytes(b"half")
    publish(run, tmp_path / "r")
    assert not left.exists()


def test_published_run_is_found_again(run: Run, tmp_path: Path) -> None:
    assert published_version(run, tmp_path / "r") is None
    publish(make_run(tmp_path / "other", model=b"another graph"), tmp_path / "r")
    version = publish(run, tmp_path / "r")
    assert published_version(run, tmp_path / "r") == version


def test_accuracy_below_the_gate_is_refused(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r", gates=Gates(min_accuracy=0.99))
    with pytest.raises(GateRefused, match=r"test accuracy 99\.00%, expected at least 99\.10%"):
        publish(run, tmp_path / "r", gates=Gates(min_accuracy=0.991))
    assert not (tmp_path / "r" / "digits" / "2").exists()


@pytest.mark.parametrize(("wrong", "refused"), [(10, False), (15, False), (16, True), (0, False)])
def test_run_significantly_worse_than_stable_is_refused(
    run: Run, tmp_path: Path, wrong: int, refused: bool
) -> None:
    publish(run, tmp_path / "r", label=Label("stable"))
    candidate = make_run(tmp_path / "candidate", wrong)
    gates = Gates(no_worse_than_stable=True)
    if refused:
        # 16 - 10 = 6 images, all against it: p = 2 / 2**6
        with pytest.raises(GateRefused, match=r"worse than version 1: 6 test images .* \(p = 0\.031\)"):
            publish(candidate, tmp_path / "r", gates=gates)
    else:
        assert publish(candidate, tmp_path / "r", gates=gates).name == "2"


def test_runs_on_other_data_are_not_compared(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r", label=Label("stable"))
    candidate = make_run(tmp_path / "candidate", data_sha256="1" * 64)
    with pytest.raises(TrainerError, match="cannot be compared"):
        publish(candidate, tmp_path / "r", gates=Gates(no_worse_than_stable=True))


def test_without_a_stable_version_there_is_nothing_to_be_worse_than(run: Run, tmp_path: Path) -> None:
    assert publish(run, tmp_path / "r", gates=Gates(no_worse_than_stable=True)).name == "1"


def test_label_points_at_the_new_version(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r", label=Label("stable"))
    publish(run, tmp_path / "r", label=Label("canary"))
    assert json.loads((tmp_path / "r/digits/labels.json").read_text()) == {"canary": 2, "stable": 1}


def test_label_goes_back_step_by_step(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "r" / "digits"
    for _ in range(3):
        publish(run, tmp_path / "r", label=Label("stable"))
    assert point_back(folder, "stable") == (3, 2)
    assert point_back(folder, "stable") == (2, 1)
    with pytest.raises(TrainerError, match="never pointed at another version than 1"):
        point_back(folder, "stable")
    point(folder, "stable", 3)
    assert point_back(folder, "stable") == (3, 1)
    assert labels(folder) == {"stable": 1}


def test_label_cannot_point_at_a_version_that_is_not_there(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r")
    with pytest.raises(TrainerError, match="versions there are: 1"):
        point(tmp_path / "r" / "digits", "stable", 7)


def test_unknown_label_is_told_the_known_ones(run: Run, tmp_path: Path) -> None:
    publish(run, tmp_path / "r", label=Label("canary"))
    with pytest.raises(TrainerError, match="no label stable, labels there are: canary"):
        point_back(tmp_path / "r" / "digits", "stable")


def test_canary_gets_its_share_and_loses_it_when_it_moves(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "r" / "digits"
    publish(run, tmp_path / "r", label=Label("stable"))
    publish(run, tmp_path / "r", label=Label("canary", 0.05))
    written = folder / "labels.json"
    assert json.loads(written.read_text()) == {"canary": {"version": 2, "share": 0.05}, "stable": 1}
    point(folder, "canary", 2, 0.25)
    point(folder, "stable", 2)
    assert json.loads(written.read_text()) == {"canary": {"version": 2, "share": 0.25}, "stable": 2}
    assert labels(folder) == {"canary": 2, "stable": 2}
    publish(run, tmp_path / "r", label=Label("canary"))
    assert json.loads(written.read_text()) == {"canary": 3, "stable": 2}
    assert point_back(folder, "canary") == (3, 2)


@pytest.mark.parametrize("text", ["[1]", '{"stable": "new"}', '{"stable": {"share": 0.1}}', "{"])
def test_damaged_labels_are_named(run: Run, tmp_path: Path, text: str) -> None:
    folder = publish(run, tmp_path / "r").parent
    (folder / "labels.json").write_text(text)
    with pytest.raises(TrainerError, match=r"labels\.json: damaged, expected"):
        labels(folder)
