"""Settings in manifests and images are valid for the programs."""

import os
import re
from dataclasses import fields

import pytest
import yaml

from server.cli import app as server_app
from server.process.app import ANSWER_SECONDS
from server.rpc.data_plane import MOST_HOLD_SECONDS
from server.settings import Settings
from tests.unit.deploy.manifests import DEPLOY, ROOT, VERSION, Variant
from trainer.cli import app as trainer_app

SETTINGS = {f"DIGITS_{field.name.upper()}": field.default for field in fields(Settings)}
CONTAINERFILE = (DEPLOY / "containers" / "Containerfile").read_text()
IMAGE_ENVIRONMENT = dict(re.findall(r"(DIGITS_\w+)=(\S+)", CONTAINERFILE))


def parsed(environment: dict[str, str], monkeypatch: pytest.MonkeyPatch, *arguments: str) -> Settings:
    """Read settings as digit-server does."""
    for name in [name for name in os.environ if name.startswith("DIGITS_")]:
        monkeypatch.delenv(name)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    _, bound, _ = server_app.parse_args(list(arguments), exit_on_error=False, print_error=False)
    settings: Settings = bound.arguments.get("settings", Settings())
    return settings


def test_image_settings_exist_and_listen_on_every_interface(monkeypatch: pytest.MonkeyPatch) -> None:
    assert set(IMAGE_ENVIRONMENT) <= set(SETTINGS)
    assert parsed(IMAGE_ENVIRONMENT, monkeypatch).host == "0.0.0.0"  # noqa: S104 - a container's own network


def test_every_setting_exists_and_has_a_value_that_it_may_have(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _, server in variant.servers():
        own = {each["name"]: each["value"] for each in server.get("env", [])}
        environment = variant.settings() | own
        assert set(environment) <= set(SETTINGS)
        parsed(environment, monkeypatch, *server.get("args", [])).check()


def test_every_trainer_command_line_exists(variant: Variant) -> None:
    for kind, pod in variant.pods():
        if kind != "Deployment":
            for each in [*pod["spec"].get("initContainers", []), *pod["spec"]["containers"]]:
                # The kubelet puts variables in; JOB_COMPLETION_INDEX is a number.
                words = [re.sub(r"\$\(\w+\)", "1", word) for word in each["args"]]
                trainer_app.parse_args(words, exit_on_error=False, print_error=False)


def test_a_pod_may_take_longer_to_stop_than_the_server_does(
    variant: Variant, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = parsed(variant.settings(), monkeypatch)
    needed = settings.drain_seconds + MOST_HOLD_SECONDS + settings.grace_seconds
    for pod, _ in variant.servers():
        assert pod["spec"]["terminationGracePeriodSeconds"] > needed


def test_ports_are_the_servers(variant: Variant) -> None:
    ports = {"grpc": Settings().grpc_port, "metrics": Settings().metrics_port}
    if health_port := variant.settings().get("DIGITS_HEALTH_PORT"):
        ports["health"] = int(health_port)
    for _, server in variant.servers():
        assert {port["name"]: port["containerPort"] for port in server["ports"]} == ports
        for probe in ("startupProbe", "readinessProbe"):
            # The kubelet cannot do mutual TLS.
            assert server[probe]["grpc"] == {"port": ports.get("health", ports["grpc"])}
    for service in variant.of_kind("Service"):
        for port in service["spec"]["ports"]:
            assert port["port"] == ports[port["name"]]


def test_files_of_tls_are_where_the_certificates_secret_is_mounted(variant: Variant) -> None:
    files = {name: path for name, path in variant.settings().items() if name.startswith("DIGITS_TLS_")}
    certificates = {each["metadata"]["name"]: each["spec"] for each in variant.of_kind("Certificate")}
    assert bool(files) == bool(certificates)
    if not files:
        return
    services = {each["metadata"]["name"] for each in variant.of_kind("Service")}
    assert set(certificates["digits-server"]["dnsNames"]) == services
    for pod, server in variant.servers():
        volumes = pod["spec"]["volumes"]
        secrets = {each["name"]: each["secret"]["secretName"] for each in volumes if "secret" in each}
        folders = {each["mountPath"]: secrets.get(each["name"]) for each in server["volumeMounts"]}
        for name, key in (("CERT", "tls.crt"), ("KEY", "tls.key"), ("CLIENT_CA", "ca.crt")):
            folder, _, file = files[f"DIGITS_TLS_{name}_FILE"].rpartition("/")
            assert file == key  # as cert-manager names them
            assert folders[folder] == certificates["digits-server"]["secretName"]


def test_service_links_cannot_pose_as_settings(variant: Variant) -> None:
    for _, pod in variant.pods():
        assert pod["spec"]["enableServiceLinks"] is False


def test_liveness_asks_what_the_server_answers(variant: Variant) -> None:
    pages = re.findall(r'case "(/\w+)"', (ROOT / "server" / "observability" / "http.py").read_text())
    for _, server in variant.servers():
        probe = server["livenessProbe"]
        if "grpc" in probe:
            assert probe["grpc"] == {"port": Settings().grpc_port}
        else:
            assert probe["httpGet"]["path"] in pages
            assert probe["httpGet"]["port"] == "metrics"
            assert probe["timeoutSeconds"] > ANSWER_SECONDS


def test_exit_codes_that_end_a_job_are_those_the_trainer_documents(variant: Variant) -> None:
    assert "0 done, 1 bad data, 2 usage, 3 a gate refused" in (ROOT / "trainer" / "cli.py").read_text()
    jobs = [cronjob["spec"]["jobTemplate"] for cronjob in variant.of_kind("CronJob")]
    for job in [*jobs, *variant.of_kind("Job")]:
        rules = job["spec"]["podFailurePolicy"]["rules"]
        (codes,) = [rule["onExitCodes"]["values"] for rule in rules if rule["action"] == "FailJob"]
        assert codes == [1, 2, 3]


def test_images_are_those_of_this_version(variant: Variant) -> None:
    for _, pod in variant.pods():
        for each in pod["spec"]["containers"]:
            name, _, tag = each["image"].partition(":")
            assert f"AS {name.removeprefix('digit-')}\n" in CONTAINERFILE
            assert tag == VERSION


def test_each_setting_is_written_once() -> None:
    lines = (DEPLOY / "base" / "settings.env").read_text().splitlines()
    base = dict(line.split("=") for line in lines if not line.startswith("#"))
    assert not set(base) & set(IMAGE_ENVIRONMENT)
    for path in DEPLOY.rglob("kustomization.yaml"):
        for generator in yaml.safe_load(path.read_text()).get("configMapGenerator", []):
            for literal in generator.get("literals", []):
                name, _, value = literal.partition("=")
                assert value != base.get(name), f"{path} repeats {literal}"
