"""Several seeds at once: each trains in a folder of its own, and one is published."""

import json
import re
import runpy
from pathlib import Path

import pytest

from tests.unit.deploy.manifests import DEPLOY, variants

PICK = DEPLOY / "components" / "training-seeds" / "pick.py"
SEEDS = next(variant for variant in variants() if "training-seeds" in variant.components)


def test_pick_takes_the_run_with_the_best_validation_accuracy(tmp_path: Path) -> None:
    for seed, (validation, test) in enumerate([(0.97, 0.99), (0.98, 0.96), (0.96, 0.97)]):
        report = tmp_path / str(seed) / "report"
        report.mkdir(parents=True)
        metrics = {"validation_accuracy": validation, "test_accuracy": test}
        (report / "metrics.json").write_text(json.dumps(metrics))
    (tmp_path / "3").mkdir()  # never finished
    assert runpy.run_path(str(PICK))["best_run"](tmp_path) == tmp_path / "1"


def test_pick_without_a_finished_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match="no finished run"):
        runpy.run_path(str(PICK))["best_run"](tmp_path)


def test_seeds_only_train_and_pick_looks_where_they_train() -> None:
    jobs = {job["metadata"]["name"]: job["spec"]["template"]["spec"] for job in SEEDS.of_kind("Job")}
    (train,), (publish,) = jobs["digits-seeds"]["containers"], jobs["digits-pick"]["containers"]
    folder = publish["args"][1]
    assert train["args"][0] == "train"
    assert f"--run-dir={folder}/$(JOB_COMPLETION_INDEX)" in train["args"]
    assert "--seed=$(JOB_COMPLETION_INDEX)" in train["args"]
    assert publish["args"][0] == "publish"
    assert not any("initContainers" in spec for spec in jobs.values())


def test_pick_is_mounted_from_the_configmap_that_holds_it() -> None:
    spec = SEEDS.only("Job", "digits-pick")["spec"]["template"]["spec"]
    (configmap,) = [each for each in SEEDS.of_kind("ConfigMap") if PICK.name in each["data"]]
    (volume,) = [each for each in spec["volumes"] if "configMap" in each]
    (mount,) = [each for each in spec["containers"][0]["volumeMounts"] if each["name"] == volume["name"]]
    assert volume["configMap"]["name"] == configmap["metadata"]["name"]
    assert re.fullmatch(rf"{re.escape(mount['mountPath'])}/{PICK.name}", spec["containers"][0]["command"][1])
