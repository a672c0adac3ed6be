"""`promote --shadow-agreement` checks a candidate's agreement in a server's metrics."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from tests.runs import make_run
from trainer.cli import main

SERIES = "digits_shadow_images_total{{model={},version={},shadow_version={},digit={},shadow_digit={}}} {}\n"


def series(*values: object) -> str:
    return SERIES.format(*(f'"{value}"' for value in values[:-1]), values[-1])


PAGE = (
    "# TYPE digits_shadow_images_total counter\n"
    + series("digits", 1, 2, 7, 7, 1997)
    + series("digits", 1, 2, 1, 7, 3)
    + series("digits", 1, 3, 1, 7, 500)  # another candidate
    + series("fast", 1, 2, 1, 7, 500)  # another model
)


class Page(BaseHTTPRequestHandler):
    text = PAGE

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.text.encode())

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def page() -> Iterator[str]:
    with HTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/metrics"
        server.shutdown()


@pytest.fixture
def repository(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Path:
    repository = tmp_path / "repository"
    publish = ["publish", "--repository", str(repository)]
    assert main([*publish, str(make_run(tmp_path / "a").folder), "--label", "stable"]) == 0
    candidate = str(make_run(tmp_path / "b", model=b"other").folder)
    assert main([*publish, candidate, "--label", "canary", "--shadow", "0.2"]) == 0
    assert "label   canary with 20% of the answered images as a shadow" in capsys.readouterr().out
    return repository


def labels(repository: Path) -> object:
    return json.loads((repository / "digits" / "labels.json").read_text())


def promote(repository: Path, *words: str) -> int:
    return main(["promote", "--repository", str(repository), *words])


def test_candidate_that_agrees_becomes_stable_and_ends_to_be_a_shadow(
    repository: Path, page: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert labels(repository) == {"canary": {"shadow": 0.2, "version": 2}, "stable": 1}
    gate = ("--shadow-agreement", "0.998", "--min-shadow-images", "2000", "--metrics", page)
    assert promote(repository, *gate) == 0
    assert capsys.readouterr().out.splitlines() == [
        "shadow  1,997 of 2,000 images get the digit of version 1 (99.850%)",
        "stable  digits 2 (was 1)",
        "canary  digits 2, no longer a shadow: it is stable now",
    ]
    assert labels(repository) == {"canary": 2, "stable": 2}


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (
            ("0.999",),
            3,
            "1,997 of 2,000 images get the digit of version 1 (99.850%), expected at least 99.900%",
        ),
        (("0.9", "--min-shadow-images", "2001"), 3, "on 2,000 images, expected at least 2,001"),
        (("0.9", "--model", "nosuch"), 1, "no such model"),
        (("0.9", "--metrics", "file:///etc/passwd"), 1, "expected a URL such as"),
        (("0.9", "--metrics", "http://127.0.0.1:9/metrics"), 1, "--metrics http://127.0.0.1:9/metrics: "),
    ],
)
def test_others_are_refused_in_one_line(  # noqa: PLR0913, PLR0917 - what is asked, and what is said
    repository: Path,
    page: str,
    words: tuple[str, ...],
    code: int,
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = labels(repository)
    where = () if "--metrics" in words else ("--metrics", page)
    assert promote(repository, *where, "--shadow-agreement", *words) == code
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert labels(repository) == before


@pytest.mark.parametrize("text", ["<html>", "# TYPE up gauge\nup 1\n"])
def test_page_of_something_else_is_named(
    repository: Path,
    page: str,
    text: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(Page, "text", text)
    assert promote(repository, "--shadow-agreement", "0.9", "--metrics", page) == 1
    assert f"--metrics {page}: " in capsys.readouterr().err


def test_options_without_effect_are_refused(repository: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert promote(repository, "--min-shadow-images", "10") == 2
    assert "have no effect without --shadow-agreement" in capsys.readouterr().err
    assert main(["publish", str(repository), "--repository", str(repository), "--shadow", "0.2"]) == 2
    assert "--shadow: given without --label" in capsys.readouterr().err
