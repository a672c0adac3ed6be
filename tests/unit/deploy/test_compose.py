"""The compose file says what the programs and the other manifests say."""

import re
from dataclasses import fields
from typing import Any

import pytest
import yaml

from clients.cli import app as client_app
from server.settings import Settings
from tests.unit.deploy.manifests import DEPLOY, ROOT

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
    (version,) = re.findall(r'^version = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    assert SERVICES["server"]["image"] == f"digit-server:{version}"
    assert SERVICES["page"]["image"] == f"digit-client:{version}"


def test_the_servers_settings_exist_and_it_may_stop_in_peace() -> None:
    server, settings = SERVICES["server"], {field.name for field in fields(Settings)}
    assert {name.removeprefix("DIGITS_").lower() for name in server["environment"]} <= settings
    assert float(server["environment"]["DIGITS_DRAIN_SECONDS"]) == 0
    assert float(server["stop_grace_period"].removesuffix("s")) > Settings().grace_seconds


def test_the_page_asks_the_server_and_prometheus_scrapes_it() -> None:
    command = SERVICES["page"]["command"]
    client_app.parse_args(command, exit_on_error=False, print_error=False)
    assert f"--server=server:{Settings().grpc_port}" in command
    scrape = yaml.safe_load(COMPOSE["configs"]["prometheus"]["content"])["scrape_configs"]
    assert scrape[0]["static_configs"] == [{"targets": [f"server:{Settings().metrics_port}"]}]
