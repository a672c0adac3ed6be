"""A real Prometheus with the rules of deploy/."""

import json
import math
import shutil
import subprocess
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.process import WAIT_SECONDS, free_port

MONITORING = Path(__file__).parents[3] / "deploy" / "monitoring"


class Prometheus:
    """Its HTTP API."""

    def __init__(self, port: int) -> None:
        self._url = f"http://127.0.0.1:{port}/api/v1"

    def get(self, path: str, **parameters: str) -> Any:
        """Return the data of an answer; raise Prometheus's error."""
        url = f"{self._url}/{path}?{urllib.parse.urlencode(parameters)}"
        try:
            with urllib.request.urlopen(url, timeout=WAIT_SECONDS) as page:  # noqa: S310 - our own URL
                return json.load(page)["data"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{parameters}: {error.read().decode()}") from None

    def values(self, query: str) -> list[float]:
        """Run a query; return the values of its series, without NaN."""
        result = self.get("query", query=query)["result"]
        found = [float(series["value"][1]) for series in result]
        return [value for value in found if not math.isnan(value)]


@contextmanager
def scraping(folder: Path, *ports: int) -> Iterator[Prometheus]:
    """Run Prometheus as deploy/compose.yaml does, but with these targets, and every second."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("NOT RUN: there is no Prometheus on this machine, `make packages` installs it")
    config = yaml.safe_load((MONITORING / "prometheus.yaml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["rule_files"] = [str(MONITORING / name) for name in config["rule_files"]]
    (scrape,) = config["scrape_configs"]
    scrape["static_configs"] = [{"targets": [f"127.0.0.1:{port}" for port in ports]}]
    (folder / "prometheus.yaml").write_text(yaml.safe_dump(config))
    port = free_port()
    command = [
        *(program, f"--config.file={folder / 'prometheus.yaml'}", f"--storage.tsdb.path={folder / 'data'}"),
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            log = []
            for line in process.stderr:
                log.append(line)
                if "Server is ready to receive web requests" in line:
                    break
            else:
                raise AssertionError("".join(log))
            yield Prometheus(port)
        finally:
            process.terminate()
            process.communicate(timeout=WAIT_SECONDS)
