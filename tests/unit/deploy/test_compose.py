"""The compose file agrees with the programs and the other manifests."""

import re
import shutil
import subprocess
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml

from clients.cli import app as client_app
from server.settings import Settings
from tests.unit.deploy.manifests import DEPLOY, VERSION

MONITORING = DEPLOY / "monitoring"
COMPOSE: dict[str, Any] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_restricted_limited_and_pinned(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["user"] == "65532:65532"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert {"mem_limit", "cpus"} <= set(service)
    assert re.fullmatch(r".+:v?\d+\.\d+\.\d+", service["image"])
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_our_images_are_those_of_this_version() -> None:
    assert SERVICES["server"]["image"] == f"digit-server:{VERSION}"
    assert SERVICES["page"]["image"] == f"digit-client:{VERSION}"


def test_the_servers_settings_exist_and_it_may_stop_in_peace() -> None:
    server, settings = SERVICES["server"], {field.name for field in fields(Settings)}
    assert {name.removeprefix("DIGITS_").lower() for name in server["environment"]} <= settings
    assert float(server["environment"]["DIGITS_DRAIN_SECONDS"]) == 0
    assert float(server["stop_grace_period"].removesuffix("s")) > Settings().grace_seconds


def test_the_page_asks_the_server_and_prometheus_scrapes_it() -> None:
    command = SERVICES["page"]["command"]
    client_app.parse_args(command, exit_on_error=False, print_error=False)
    assert f"--server=server:{Settings().grpc_port}" in command
    scrape = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["scrape_configs"]
    assert scrape[0]["static_configs"] == [{"targets": [f"server:{Settings().metrics_port}"]}]
    assert (
        f"--config.file={mounted(SERVICES['prometheus'])}/prometheus.yaml"
        in SERVICES["prometheus"]["command"]
    )


def mounted(service: dict[str, Any]) -> str:
    """Where a service finds deploy/monitoring."""
    (volume,) = service["volumes"]
    source, target, mode = volume.split(":")
    assert (DEPLOY / source).resolve() == MONITORING
    assert mode == "ro"
    found: str = target
    return found


def test_grafana_has_our_dashboard_and_asks_our_prometheus() -> None:
    grafana = SERVICES["grafana"]
    files = {Path(config["target"]).parent.name: config["source"] for config in grafana["configs"]}
    provisioned = {
        folder: yaml.safe_load(COMPOSE["configs"][source]["content"]) for folder, source in files.items()
    }
    (source,) = provisioned["datasources"]["datasources"]
    interval = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())["global"]["scrape_interval"]
    assert (source["type"], source["url"]) == ("prometheus", "http://prometheus:9090")
    assert source["jsonData"]["timeInterval"] == interval
    (provider,) = provisioned["dashboards"]["providers"]
    assert provider["options"]["path"] == mounted(grafana)
    home = grafana["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (MONITORING / Path(home).relative_to(mounted(grafana))).is_file()


def test_compose_itself_reads_the_file() -> None:
    program = next((words for words in (["docker-compose"], ["docker", "compose"]) if works(words)), None)
    if program is None:
        # No package registry has it, so no test depends on this one.
        pytest.skip("OPTIONAL: docker compose 2.23 or newer is not installed; it would read compose.yaml")
    command = [*program, "--file", str(DEPLOY / "compose.yaml"), "config", "--quiet"]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def works(words: list[str]) -> bool:
    """Whether these words start a compose that knows today's files, version 2.23 or newer."""
    if shutil.which(words[0]) is None:
        return False
    said = subprocess.run([*words, "version", "--short"], check=False, capture_output=True, text=True)
    version = re.match(r"v?(\d+)\.(\d+)", said.stdout)
    return not said.returncode and version is not None and tuple(map(int, version.groups())) >= (2, 23)
