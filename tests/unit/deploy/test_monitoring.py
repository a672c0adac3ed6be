"""Rules and alerts: what promtool says of them, and that each alert is proven, explained and deployed."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.deploy.manifests import DEPLOY, ROOT, Variant

MONITORING = DEPLOY / "monitoring"
RULES = {name: yaml.safe_load((MONITORING / f"{name}.yaml").read_text()) for name in ("recording", "alerts")}
ALERTS = {rule["alert"]: rule for group in RULES["alerts"]["groups"] for rule in group["rules"]}
STORIES = sorted(MONITORING.glob("*_test.yaml"))
DASHBOARD = json.loads((MONITORING / "dashboard.json").read_text())
RUNBOOK = (ROOT / "docs" / "runbook.md").read_text()
SEVERITIES = {"page", "ticket"}


def promtool(*arguments: object) -> None:
    program = shutil.which("promtool")
    if program is None:
        pytest.skip(
            "NOT RUN: promtool is not on this machine; it checks the rules, `make packages` installs it"
        )
    done = subprocess.run([program, *map(str, arguments)], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("name", RULES)
def test_rules_are_what_prometheus_reads(name: str) -> None:
    promtool("check", "rules", MONITORING / f"{name}.yaml")


@pytest.mark.parametrize("path", STORIES, ids=lambda path: path.stem)
def test_alerts_fire_and_stay_quiet_as_their_stories_say(path: Path) -> None:
    promtool("test", "rules", path)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_has_a_story_in_which_it_fires_and_one_in_which_it_is_quiet(alert: str) -> None:
    cases = [
        case
        for path in STORIES
        for story in yaml.safe_load(path.read_text())["tests"]
        for case in story["alert_rule_test"]
        if case["alertname"] == alert
    ]
    assert any(case["exp_alerts"] for case in cases)
    assert not all(case["exp_alerts"] for case in cases)


@pytest.mark.parametrize("alert", ALERTS)
def test_every_alert_says_what_it_is_and_has_a_paragraph_in_the_runbook(alert: str) -> None:
    rule = ALERTS[alert]
    assert rule["labels"]["severity"] in SEVERITIES
    assert set(rule["annotations"]) == {"summary", "description", "runbook_url"}
    page, _, anchor = rule["annotations"]["runbook_url"].partition("#")
    assert (ROOT / page).is_file()
    assert anchor == alert.lower()
    (paragraph,) = re.findall(rf"^## {alert}\n\n(.+?)(?=\n## |\Z)", RUNBOOK, re.MULTILINE | re.DOTALL)
    assert paragraph.startswith(f"*{rule['labels']['severity'].capitalize()}.*")
    assert "*First look:*" in paragraph
    assert "*Action:*" in paragraph


def test_the_runbook_sends_nobody_to_a_panel_that_is_not_there() -> None:
    titles = [panel["title"] for panel in DASHBOARD["panels"]]
    for name in re.findall(r'"([A-Z][^"]+)"', RUNBOOK.replace("\n", " ")):
        assert name == "Sizing" or any(title.startswith(name) for title in titles), name


def test_the_runbook_has_no_paragraph_of_an_alert_that_is_gone() -> None:
    assert set(re.findall(r"^## (\w+)", RUNBOOK, re.MULTILINE)) == set(ALERTS)


def test_every_recorded_series_is_used() -> None:
    recorded = [rule["record"] for group in RULES["recording"]["groups"] for rule in group["rules"]]
    users = [(MONITORING / name).read_text() for name in ("recording.yaml", "alerts.yaml", "dashboard.json")]
    for name in recorded:
        assert sum(text.count(name) for text in users) > 1, name


def test_kubernetes_gets_the_same_rules(variant: Variant) -> None:
    found: dict[str, Any] = {
        rule["metadata"]["name"].removeprefix("digits-"): rule["spec"]
        for rule in variant.of_kind("PrometheusRule")
    }
    assert found in ({}, RULES), "run `make manifests`"
