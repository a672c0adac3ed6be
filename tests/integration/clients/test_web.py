"""The HTTP answers of the drawing page's server."""

import io
import json
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from PIL import Image

from clients.cli import main
from clients.testing import FakeServer
from protos.digits.v1 import prediction_pb2
from tests.integration.clients.web_process import serving_page


@pytest.fixture(scope="module")
def fake() -> Iterator[FakeServer]:
    with FakeServer() as fake:
        yield fake


@pytest.fixture(scope="module")
def page(fake: FakeServer) -> Iterator[str]:
    with serving_page(fake.address) as url:
        yield url


def ask(url: str, body: bytes | None = None) -> tuple[int, dict[str, Any]]:
    try:
        with urllib.request.urlopen(urllib.request.Request(url, body)) as answer:  # noqa: S310 - our own URL
            return answer.status, json.load(answer)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


def drawing() -> bytes:
    page = np.full((200, 200), 255, np.uint8)
    page[40:160, 90:110] = 0
    file = io.BytesIO()
    Image.fromarray(page).save(file, "PNG")
    return file.getvalue()


def test_page_needs_nothing_from_elsewhere_and_allows_nothing_else(page: str) -> None:
    with urllib.request.urlopen(page) as answer:  # noqa: S310 - our own URL
        text, policy = answer.read().decode(), answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "://" not in text.replace("http://www.w3.org/2000/svg", "")


def test_picture_is_answered_with_all_that_the_page_shows(page: str) -> None:
    status, answer = ask(page + "predict?model=fast", drawing())
    assert status == 200
    assert (answer["number"], answer["model"]) == ("0", "fast")
    (digit,) = answer["digits"]
    assert (digit["digit"], digit["confidence"], digit["box"]) == (0, 0.75, [90, 40, 110, 160])
    assert len(digit["probabilities"]) == 10
    assert len(digit["image"]) == 784
    assert digit["doubt"] == "not sure: 0 (75 %) or 1 (3 %)"
    assert digit["steps"][0] == "dark ink on light background"


def test_strokes_are_answered_as_they_are(page: str, fake: FakeServer) -> None:
    images = bytes([7, *bytes(783), 2, *bytes(783)])
    status, answer = ask(page + "strokes", images)
    assert (status, answer["number"]) == (200, "72")
    assert fake.requests[-1].images == images


def test_models_name_the_default(page: str, fake: FakeServer) -> None:
    serving = prediction_pb2.Model.STATE_SERVING
    fake.models = [prediction_pb2.Model(name=name, version=1, state=serving) for name in ("digits", "fast")]
    status, answer = ask(page + "models")
    assert (status, answer["models"], answer["default"]) == (200, ["digits", "fast"], "digits")


def test_page_for_other_machines_shows_its_address_as_a_qr_code() -> None:
    command = [sys.executable, "-m", "clients.cli", "web", "--port", "0", "--host", "0.0.0.0"]  # noqa: S104 - the point
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline() for _ in range(6)]
        process.terminate()
    assert lines[0].startswith("Draw at http://127.0.0.1:")
    assert "On your phone: http://" in lines[1]
    assert set("".join(lines[2:])) & set("█▀▄")


@pytest.mark.parametrize(
    ("body", "status", "complaint"),
    [
        (b"hello", 422, "not a picture (text that starts with 'hello'), expected PNG, JPEG, ..."),
        (b"", 422, "not a picture (it is empty)"),
        (bytes(17 * 2**20), 422, "picture has more than 16 MiB"),
    ],
)
def test_what_is_no_picture_is_refused_in_words(page: str, body: bytes, status: int, complaint: str) -> None:
    assert ask(page + "predict", body)[0] == status
    assert complaint in ask(page + "predict", body)[1]["error"]


def test_strokes_of_half_an_image_are_refused(page: str) -> None:
    assert ask(page + "strokes", bytes(800)) == (
        422,
        {"error": "strokes have 800 bytes, expected a multiple of 784"},
    )


def test_server_that_is_gone_is_told_to_the_page() -> None:
    with serving_page("127.0.0.1:1") as url:
        status, answer = ask(url + "predict", drawing())
        assert status == 502
        assert "no server answers at 127.0.0.1:1" in answer["error"]
        assert ask(url + "models")[0] == 502


def test_port_in_use_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        assert main(["web", "--port", str(port)]) == 1
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in capsys.readouterr().err


def test_ctrl_c_ends_it_quietly(fake: FakeServer) -> None:
    command = [sys.executable, "-m", "clients.cli", "web", "--port", "0", "--server", fake.address]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().split()[2]
        ask(url + "models")  # it runs
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=30)
    assert process.returncode in {0, 130}
    assert err == ""
