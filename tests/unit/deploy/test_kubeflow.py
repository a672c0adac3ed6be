"""The training as a TrainJob of Kubeflow's Trainer."""

import json

from tests.unit.deploy.manifests import Resource, variants
from tests.unit.deploy.test_schemas import validate

KUBEFLOW = next(variant for variant in variants() if "training-kubeflow" in variant.components)


def job() -> Resource:
    (replicated,) = KUBEFLOW.only("TrainingRuntime")["spec"]["template"]["spec"]["replicatedJobs"]
    found: Resource = replicated["template"]
    return found


def test_the_job_of_the_runtime_is_one_that_kubernetes_takes() -> None:
    resource = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "x"}, "spec": job()["spec"]}
    validate(json.dumps(resource))


def test_the_trainer_knows_its_step_and_its_container() -> None:
    assert job()["metadata"]["labels"] == {"trainer.kubeflow.org/trainjob-ancestor-step": "trainer"}
    (container,) = job()["spec"]["template"]["spec"]["containers"]
    assert container["name"] == "node"


def test_it_trains_and_publishes_as_the_cronjob_does() -> None:
    cron = KUBEFLOW.only("CronJob")["spec"]["jobTemplate"]["spec"]
    (ours,), (theirs,) = (spec["template"]["spec"]["containers"] for spec in (job()["spec"], cron))
    assert ours | {"name": "publish"} == theirs
    assert job()["spec"]["template"]["spec"]["initContainers"] == cron["template"]["spec"]["initContainers"]
    assert job()["spec"]["podFailurePolicy"] == cron["podFailurePolicy"]


def test_the_job_names_the_runtime_that_there_is() -> None:
    runtime, reference = KUBEFLOW.only("TrainingRuntime"), KUBEFLOW.only("TrainJob")["spec"]["runtimeRef"]
    assert reference == {
        "apiGroup": runtime["apiVersion"].partition("/")[0],
        "kind": runtime["kind"],
        "name": runtime["metadata"]["name"],
    }
