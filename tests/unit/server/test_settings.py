"""Settings and their combinations."""

import re
from dataclasses import fields
from pathlib import Path

import pytest

from server.cli import main
from server.errors import StartError
from server.settings import Settings


def test_there_are_few() -> None:
    assert len(fields(Settings)) <= 34


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            Settings(max_request_images=1_000_000),
            "max_request_images 1000000 is more than max_queue_images 16384",
        ),
        (Settings(max_inflight_bytes=1000), "a call of max_request_images 4096 has 3211264 bytes"),
        (Settings(grpc_port=9090), "grpc_port and metrics_port are both 9090"),
        (Settings(health_port=8500), "grpc_port and health_port are both 8500"),
        (Settings(host="unix:/run/digits", health_port=9090), "health_port and metrics_port are both 9090"),
        (Settings(host="unix:/run/digits", workers=2), "cannot be shared by workers"),
    ],
)
def test_contradictions_are_named(settings: Settings, words: str) -> None:
    with pytest.raises(StartError, match=words):
        settings.check()


@pytest.mark.parametrize(
    "settings",
    [
        Settings(),
        Settings(grpc_port=0, metrics_port=0, health_port=0),
        Settings(grpc_port=9090, metrics_host="127.0.0.2"),
        Settings(max_request_images=100_000, max_queue_images=100_000, max_inflight_bytes=10**9),
    ],
)
def test_what_goes_together_starts(settings: Settings) -> None:
    settings.check()


def test_help_shows_examples_and_shell_completion(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    shown = capsys.readouterr().out
    assert shown.partition("Examples:")[2].count("digit-server") >= 2
    assert "--install-completion" in shown


def test_help_of_each_setting_is_one_paragraph(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    indents = {len(spaces) for spaces in re.findall(r"^│( {4,})\S", capsys.readouterr().out, re.MULTILINE)}
    assert len(indents) == 1


def test_completion_is_installed_for_the_shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main(["--install-completion", "--shell", "bash"]) == 0
    (script,) = tmp_path.rglob("digit-server")
    assert "--model-repository" in script.read_text()
    assert str(script) in capsys.readouterr().out
