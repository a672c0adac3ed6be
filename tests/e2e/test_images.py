"""Container images: read-only, not root, small. `make image-test` builds them first."""

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from clients import Client

ROOT = Path(__file__).parents[2]
TAG = version("digit-serving")
WAIT_SECONDS = 60
# The security context of the pods of deploy/, as options of docker and podman.
RESTRICTED = ("--read-only", "--cap-drop", "all", "--security-opt", "no-new-privileges")
SMALL = ("--cpus", "1", "--memory", "256m")
_numbers = count()


def _engine() -> str | None:
    for name in ("docker", "podman"):
        if (
            shutil.which(name)
            and not subprocess.run([name, "info"], check=False, capture_output=True).returncode
        ):
            return name
    return None


@pytest.fixture(scope="module")
def engine() -> str:
    if not os.environ.get("DIGITS_TEST_IMAGES"):
        pytest.skip("NOT RUN: the images are built and tested by `make image-test`")
    found = _engine()
    if found is None:
        pytest.skip("NOT RUN: images run in docker or podman, and neither works on this machine")
    return found


class Container:
    """A server in a container on this machine's network, whose log lines are read as they are written."""

    def __init__(self, engine: str, *options: str) -> None:
        self.engine = engine
        self.name = f"digits-test-{os.getpid()}-{next(_numbers)}"
        words = ["run", "--rm", "--name", self.name, "--network", "host", *RESTRICTED, *SMALL]
        words += ["--env", "DIGITS_GRPC_PORT=0", "--env", "DIGITS_METRICS_PORT=0", *options]
        self.process = subprocess.Popen(
            [engine, *words, f"digit-server:{TAG}"], stderr=subprocess.PIPE, text=True
        )
        ready = self.event("ready")
        self.address = f"localhost:{ready['grpc_port']}"

    def event(self, name: str) -> dict[str, Any]:
        """Wait for an event in the log."""
        assert self.process.stderr is not None
        lines = []
        for line in self.process.stderr:
            lines.append(line)
            if line.startswith("{") and (event := json.loads(line))["event"] == name:
                found: dict[str, Any] = event
                return found
        raise AssertionError(f"no {name!r} in {lines}")

    def run(self, *words: str) -> str:
        """Run a command in the container; return its output."""
        command = [self.engine, "exec", self.name, *words]
        return subprocess.run(
            command, check=True, capture_output=True, text=True, timeout=WAIT_SECONDS
        ).stdout

    def stop(self) -> int:
        """Stop it as kubelet does; return the server's exit code."""
        subprocess.run([self.engine, "kill", "--signal", "TERM", self.name], check=True, capture_output=True)
        assert self.event("draining")
        return self.wait()

    def wait(self) -> int:
        self.process.communicate(timeout=WAIT_SECONDS)
        return self.process.returncode


@contextmanager
def serving(engine: str, *options: str) -> Iterator[Container]:
    container = Container(engine, *options)
    try:
        yield container
    finally:
        subprocess.run([engine, "rm", "--force", container.name], check=False, capture_output=True)
        container.process.kill()
        container.process.communicate()


def images(n: int) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return np.random.default_rng(1).integers(0, 256, (n, 784), np.uint8)


def test_server_answers_read_only_as_non_root_on_1_cpu_and_256_mb(engine: str) -> None:
    with serving(engine) as server, Client(server.address) as client:
        assert len(client.predict(images(1000))) == 1000
        assert server.run("python", "-c", "import os; print(os.getuid())") == "65532\n"
        with pytest.raises(subprocess.CalledProcessError, match="exit status 1"):
            server.run("python", "-c", "open('/opt/digits/x', 'w')")
        assert "is ready" in server.run("digit-client", "health", "--server", server.address)


def test_client_in_a_container_reaches_the_server(engine: str) -> None:
    words = ["run", "--rm", "--network", "host", *RESTRICTED, *SMALL, f"digit-client:{TAG}", "health"]
    with serving(engine) as server:
        answer = subprocess.run(
            [engine, *words, "--server", server.address], check=True, capture_output=True, text=True
        )
        assert "is ready" in answer.stdout


def test_server_drains_when_it_is_stopped(engine: str) -> None:
    with serving(engine, "--env", "DIGITS_DRAIN_SECONDS=3") as server, Client(server.address) as client:
        assert client.ready()
        subprocess.run([engine, "kill", "--signal", "TERM", server.name], check=True, capture_output=True)
        server.event("draining")
        assert len(client.predict(images(10))) == 10
        assert not client.ready()
        server.event("stopped")
        assert server.wait() == 0


def test_server_serves_what_the_trainer_publishes_into_a_volume(engine: str, tmp_path: Path) -> None:
    models, runs = tmp_path / "models", tmp_path / "runs"
    for folder in (models, runs):
        folder.mkdir()
        folder.chmod(0o777)  # the container's user is nobody on this machine
    words = ["run", "--rm", "--network", "none", *RESTRICTED, "--tmpfs", "/tmp", "--memory", "3g"]  # noqa: S108 - in the container
    words += ["--volume", f"{models}:/models", "--volume", f"{runs}:/runs", f"digit-trainer:{TAG}"]
    words += ["train", "--recipe", "digits", "--data", "sample", "--epochs", "1"]
    words += ["--repository", "/models", "--run-dir", "/runs/one"]
    subprocess.run([engine, *words], check=True, timeout=300)

    options = ("--volume", f"{models}:/models:ro", "--env", "DIGITS_MODEL_REPOSITORY=/models")
    with serving(engine, *options) as server, Client(server.address) as client:
        (prediction,) = client.predict(images(1))
        (model,) = client.models()
    assert (prediction.model, prediction.version) == ("digits", 1)
    assert model.recipe == "digits"
    manifest = json.loads((models / "digits" / "1" / "manifest.json").read_text())
    assert model.sha256 == manifest["files"]["model.onnx"]["sha256"]


def test_trainer_ends_with_its_own_exit_code(engine: str) -> None:
    words = ["run", "--rm", "--network", "none", *RESTRICTED, "--tmpfs", "/tmp", f"digit-trainer:{TAG}"]  # noqa: S108 - in the container
    words += ["train", "--recipe", "no-such-recipe", "--data", "sample"]
    assert subprocess.run([engine, *words], check=False, capture_output=True).returncode == 2


def test_server_image_is_small_and_holds_what_its_bill_of_materials_says(engine: str) -> None:
    facts = inspect(engine)
    assert facts["Size"] < 400e6
    assert facts["Config"]["User"] == "65532:65532"
    labels = facts["Config"]["Labels"]
    assert {"org.opencontainers.image.revision", "org.opencontainers.image.version"} <= set(labels)
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    program = (
        "import json; from importlib.metadata import distributions as d;"
        "bill = json.load(open('/opt/digits/sbom.cdx.json'));"
        "ours, = [c for c in bill['components'] if c['name'] == 'digit-serving'];"
        "print(json.dumps([ours['licenses'], sorted(c['purl'] for c in bill['components']),"
        'sorted(f\'pkg:pypi/{x.metadata["Name"].lower().replace("_", "-")}@{x.version}\''
        " for x in d(path=['/opt/digits/lib/python%d.%d/site-packages' % "
        "__import__('sys').version_info[:2]]))]))"
    )
    words = ["run", "--rm", "--network", "none", "--entrypoint", "python", f"digit-server:{TAG}"]
    licences, billed, installed = json.loads(
        subprocess.run([engine, *words, "-c", program], check=True, capture_output=True).stdout
    )
    assert licences == [{"expression": "Apache-2.0"}]
    assert billed == installed
    assert not any("tensorflow" in purl for purl in billed)


def test_the_same_commit_gives_the_same_layers(engine: str) -> None:
    before = inspect(engine)
    environment = os.environ | {"BUILD_OPTIONS": "--no-cache"}
    subprocess.run(
        [ROOT / "deploy" / "containers" / "build", "server"], check=True, env=environment, capture_output=True
    )
    after = inspect(engine)
    if after["Config"]["Labels"] != before["Config"]["Labels"]:
        pytest.skip("NOT RUN: somebody committed between the two builds")
    assert after["RootFS"]["Layers"] == before["RootFS"]["Layers"]


def inspect(engine: str) -> dict[str, Any]:
    words = [engine, "inspect", f"digit-server:{TAG}"]
    (facts,) = json.loads(subprocess.run(words, check=True, capture_output=True).stdout)
    found: dict[str, Any] = facts
    return found
