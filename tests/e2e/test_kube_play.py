"""The dev overlay without a cluster: podman runs the pod that kustomize builds."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import grpc
import numpy as np
import pytest
import yaml
from grpc_health.v1 import health_pb2, health_pb2_grpc

from clients import Client
from tests.process import free_port

ROOT = Path(__file__).parents[2]
WAIT_SECONDS = 60


@pytest.fixture
def manifest(tmp_path: Path) -> Path:
    """The dev overlay, published on free ports."""
    if not os.environ.get("DIGITS_TEST_IMAGES"):
        pytest.skip("NOT RUN: the images are built and tested by `make image-test`")
    podman, kubectl = shutil.which("podman"), shutil.which("kubectl")
    if podman is None or kubectl is None:
        missing = "podman" if podman is None else "kubectl"
        pytest.skip(
            f"NOT RUN: {missing} is not on this machine; `podman kube play` of the dev overlay needs it"
        )
    built = subprocess.run(
        [kubectl, "kustomize", ROOT / "deploy" / "overlays" / "dev"], check=True, capture_output=True
    ).stdout
    resources = list(yaml.safe_load_all(built))
    (deployment,) = [each for each in resources if each["kind"] == "Deployment"]
    for port in deployment["spec"]["template"]["spec"]["containers"][0]["ports"]:
        port["hostPort"] = free_port()
    path = tmp_path / "dev.yaml"
    path.write_text(yaml.safe_dump_all(resources))
    return path


@pytest.fixture
def address(manifest: Path) -> Iterator[str]:
    """The address of the pod."""
    try:
        subprocess.run(["podman", "kube", "play", manifest], check=True)  # noqa: S607 - found above
        (deployment,) = [
            each for each in yaml.safe_load_all(manifest.read_text()) if each["kind"] == "Deployment"
        ]
        ports = deployment["spec"]["template"]["spec"]["containers"][0]["ports"]
        yield f"localhost:{next(port['hostPort'] for port in ports if port['name'] == 'grpc')}"
    finally:
        subprocess.run(["podman", "kube", "down", manifest], check=False, capture_output=True)  # noqa: S607 - found above


def test_the_dev_overlay_runs_in_podman_and_answers(address: str) -> None:
    with grpc.insecure_channel(address) as channel:
        states = health_pb2_grpc.HealthStub(channel).Watch(
            health_pb2.HealthCheckRequest(), timeout=WAIT_SECONDS, wait_for_ready=True
        )
        assert any(state.status == health_pb2.HealthCheckResponse.SERVING for state in states)
    with Client(address) as client:
        (prediction,) = client.predict(np.zeros((1, 784), np.uint8))
    assert prediction.model == "digits"
