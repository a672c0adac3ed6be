"""Our server as a runtime of KServe."""

import json

import jsonschema

from server.cli import app
from server.settings import Settings
from tests.unit.deploy.custom_resources import SCHEMAS
from tests.unit.deploy.manifests import DEPLOY, KSERVE, Resource, Variant
from tests.unit.deploy.test_schemas import validate

PROD = Variant(DEPLOY / "overlays" / "prod", ())


def container() -> Resource:
    (found,) = KSERVE.only("ClusterServingRuntime")["spec"]["containers"]
    result: Resource = found
    return result


def test_both_resources_are_valid_by_kserves_schemas() -> None:
    for resource in KSERVE.resources:
        jsonschema.validate(resource, SCHEMAS[resource["apiVersion"], resource["kind"]])


def test_the_container_would_be_valid_in_a_pod() -> None:
    pod = {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "x"},
        "spec": {"containers": [container()]},
    }
    validate(json.dumps(pod))


def test_the_container_is_called_as_kserve_wants_and_serves_what_kserve_mounts() -> None:
    _, bound, _ = app.parse_args(container()["args"], exit_on_error=False, print_error=False)
    settings: Settings = bound.arguments["settings"]
    assert str(settings.model_repository) == "/mnt/models"
    assert container()["name"] == "kserve-container"
    assert container()["ports"] == [{"name": "h2c", "containerPort": settings.grpc_port}]


def test_it_is_the_server_that_prod_runs() -> None:
    (server,) = PROD.only("Deployment")["spec"]["template"]["spec"]["containers"]
    for same in ("image", "startupProbe", "readinessProbe", "resources"):
        assert container()[same] == server[same]
    assert server["securityContext"].items() <= container()["securityContext"].items()


def test_the_service_names_the_runtime_and_the_volume_that_there_are() -> None:
    runtime = KSERVE.only("ClusterServingRuntime")
    model = KSERVE.only("InferenceService")["spec"]["predictor"]["model"]
    assert model["runtime"] == runtime["metadata"]["name"]
    assert model["modelFormat"] in runtime["spec"]["supportedModelFormats"]
    assert model["protocolVersion"] in runtime["spec"]["protocolVersions"]
    claims = {claim["metadata"]["name"] for claim in PROD.of_kind("PersistentVolumeClaim")}
    assert model["storageUri"].removeprefix("pvc://") in claims
