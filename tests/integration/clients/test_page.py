"""The drawing page in a real browser, with pointer events and a real server."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("selenium", reason="NOT RUN: selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from clients.testing import FakeServer
from tests.integration.clients.web_process import serving_page
from tests.process import RunningServer

Points = list[tuple[float, float]]
WAIT_SECONDS = 20


def loop(middle: tuple[float, float], size: tuple[float, float], start: float, turn: float) -> Points:
    """Return points of an ellipse from an angle (0 right, 90 below) over so many degrees."""
    angles = np.radians(np.linspace(start, start + turn, 13))
    return [(middle[0] + size[0] * np.cos(a), middle[1] + size[1] * np.sin(a)) for a in angles.tolist()]


# Strokes of digits on a board of 1 x 1.
STROKES: dict[int, list[Points]] = {
    0: [loop((0.5, 0.5), (0.2, 0.32), -90, 360)],
    1: [[(0.52, 0.18), (0.51, 0.5), (0.49, 0.84)]],
    2: [[*loop((0.48, 0.34), (0.18, 0.15), -170, 190), (0.5, 0.6), (0.3, 0.8), (0.52, 0.8), (0.74, 0.79)]],
    3: [[*loop((0.47, 0.33), (0.18, 0.16), -150, 230), *loop((0.47, 0.66), (0.22, 0.18), -80, 230)]],
    4: [[(0.36, 0.2), (0.3, 0.38), (0.28, 0.54), (0.5, 0.54), (0.72, 0.53)], [(0.62, 0.3), (0.61, 0.86)]],
    5: [[(0.66, 0.2), (0.38, 0.2), (0.36, 0.46), *loop((0.48, 0.62), (0.21, 0.19), -110, 240)]],
    6: [[(0.6, 0.16), (0.44, 0.36), (0.34, 0.6), *loop((0.5, 0.66), (0.17, 0.17), 180, -360)]],
    7: [[(0.28, 0.22), (0.5, 0.21), (0.72, 0.22), (0.6, 0.45), (0.46, 0.85)]],
    8: [[*loop((0.5, 0.34), (0.15, 0.15), 90, -360), *loop((0.5, 0.67), (0.19, 0.18), -90, 360)]],
    9: [[*loop((0.48, 0.36), (0.17, 0.17), 0, -360), (0.65, 0.36), (0.63, 0.6), (0.56, 0.85)]],
}


@pytest.fixture(scope="module")
def url(server: RunningServer) -> Iterator[str]:
    with serving_page(server.address) as url:
        yield url


@pytest.fixture
def page(browser: WebDriver, url: str) -> Iterator[WebDriver]:
    browser.get(url)
    shows(browser, "status", "is ready")
    yield browser
    assert browser.get_log("browser") == []


def shows(page: WebDriver, element: str, text: str) -> None:
    """Wait until the page is not busy and an element shows a text."""
    answer = page.find_element(By.ID, "answer")
    WebDriverWait(page, WAIT_SECONDS, 0.05).until(
        lambda page: (
            answer.get_attribute("aria-busy") != "true" and text in page.find_element(By.ID, element).text
        ),
        f"{element} does not show {text!r}",
    )


def draw(page: WebDriver, strokes: list[Points], kind: str = "mouse") -> None:
    box = page.find_element(By.ID, "board").rect
    for stroke in strokes:
        left = box["x"] + (box["width"] - box["height"]) / 2  # a square in the middle of the board
        places = [(int(left + x * box["height"]), int(box["y"] + y * box["height"])) for x, y in stroke]
        actions = ActionBuilder(page, mouse=PointerInput(kind, kind), duration=5)
        actions.pointer_action.move_to_location(*places[0]).pointer_down()
        for place in places[1:]:
            actions.pointer_action.move_to_location(*place)
        actions.pointer_action.pointer_up()
        actions.perform()


@pytest.mark.parametrize("digit", range(10))
def test_drawn_digit_is_read(page: WebDriver, digit: int) -> None:
    draw(page, STROKES[digit], kind="touch" if digit % 2 else "mouse")
    shows(page, "number", str(digit))
    shows(page, "timing", "digits version")
    best = page.find_element(By.CSS_SELECTOR, "#bars li.best")
    assert best.text.startswith(str(digit))


@pytest.mark.parametrize("digit", range(10))
def test_example_is_read(page: WebDriver, digit: int) -> None:
    page.find_element(By.CSS_SELECTOR, f"#gallery button:nth-child({digit + 1})").click()
    shows(page, "number", str(digit))


def test_network_saw_the_drawing_in_the_middle(page: WebDriver) -> None:
    draw(page, [[(0.1, 0.1), (0.1, 0.3)]])  # in a corner
    shows(page, "number", "1")
    columns = page.execute_script(
        "const seen = document.querySelector('#digits canvas').getContext('2d').getImageData(0, "
        "0, 28, 28).data;"
        "return Array.from({length: 784}, (_, i) => seen[4 * i] > 128 ? i % 28 : -1).filter((x) => x >= 0)"
    )
    assert 12 <= np.mean(columns) <= 15


def test_undo_and_escape_take_back(page: WebDriver) -> None:
    draw(page, STROKES[4])
    shows(page, "number", "4")
    page.find_element(By.ID, "undo").click()
    draw(page, STROKES[4][1:])
    shows(page, "number", "4")
    ActionChains(page).send_keys(Keys.ESCAPE).perform()
    shows(page, "number", "?")
    shows(page, "confidence", "Nothing drawn yet")


def test_keyboard_alone_draws_and_is_told_the_answer(page: WebDriver) -> None:
    board = page.find_element(By.ID, "board")
    board.send_keys(Keys.SPACE, *[Keys.ARROW_DOWN] * 10, Keys.SPACE)
    shows(page, "number", "1")
    said = page.find_element(By.ID, "spoken").get_attribute("textContent")
    assert said.startswith("1, ")
    ActionChains(page).send_keys("7").perform()
    shows(page, "number", "7")


def test_picture_is_read_from_a_file(page: WebDriver, tmp_path: Path) -> None:
    photo = np.full((300, 500, 3), 210, np.uint8)
    photo[60:240, 240:262] = (30, 40, 120)
    Image.fromarray(photo).save(tmp_path / "one.jpg")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "one.jpg"))
    shows(page, "number", "1")
    (tmp_path / "notes.png").write_text("no picture")
    page.find_element(By.ID, "file").send_keys(str(tmp_path / "notes.png"))
    shows(page, "problem", "notes.png is not a picture")
    shows(page, "confidence", "No answer")


def test_picture_is_read_from_the_clipboard(page: WebDriver) -> None:
    page.execute_async_script(
        """
        const done = arguments[0], canvas = new OffscreenCanvas(200, 300), context = canvas.getContext("2d");
        context.fillStyle = "black"; context.fillRect(0, 0, 200, 300);
        context.fillStyle = "white"; context.fillRect(95, 50, 16, 200);
        canvas.convertToBlob().then((blob) => {
          const clipboardData = new DataTransfer();
          clipboardData.items.add(new File([blob], "pasted.png", {type: "image/png"}));
          document.dispatchEvent(new ClipboardEvent("paste", {clipboardData}));
          done();
        });
        """
    )
    shows(page, "number", "1")
    page.find_element(By.CSS_SELECTOR, "summary").click()
    shows(page, "steps", "light ink on dark background")


@contextmanager
def media(page: WebDriver, *, phone: bool = False, dark: bool = False) -> Iterator[None]:
    """Show the page as on a phone, or in dark colours, during a block."""
    if phone:
        size = {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True}
        page.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
    page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [scheme]})
    try:
        yield
    finally:
        page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        page.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def row(page: WebDriver, number: str) -> None:
    """Draw digits side by side."""
    share = 1.3 / len(number)
    for place, digit in enumerate(number):
        left = 0.5 + (place - len(number) / 2 + 0.5) * share - share / 2
        size = min(share * 1.25, 0.8)
        strokes = [[(left + x * size, 0.5 + (y - 0.5) * size) for x, y in s] for s in STROKES[int(digit)]]
        draw(page, strokes, kind="touch")


@pytest.mark.parametrize("number", ["17", "72104"])
def test_number_is_read_digit_by_digit(page: WebDriver, number: str) -> None:
    row(page, number)
    shows(page, "number", number)
    chips = page.find_elements(By.CSS_SELECTOR, "#digits button")
    assert [chip.text[0] for chip in chips] == list(number)
    chips[0].click()
    assert page.find_element(By.CSS_SELECTOR, "#bars li.best").text.startswith(number[0])


def test_doubt_looks_like_doubt(page: WebDriver) -> None:
    # Answers of low confidence, as the page receives them.
    page.execute_script(
        "show({number: '7', model: 'digits', version: 1, call_seconds: 0, compute_seconds: 0, digits: "
        "[{digit: 7,"
        "confidence: 0.64, probabilities: [0, 0, 0.26, 0, 0, 0, 0, 0.64, 0, 0.1], doubt: 'not sure: 7 "
        "(64 %) or 2 (26 %)', box: [0, 0, 9, 9], image: [],"
        "steps: []}]}, 3)"
    )
    confidence = page.find_element(By.ID, "confidence")
    assert confidence.text == "not sure: 7 (64 %) or 2 (26 %)"
    assert confidence.get_attribute("class") == "doubt"


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("phone", [False, True])
def test_nothing_is_off_screen(page: WebDriver, phone: bool, dark: bool) -> None:
    with media(page, phone=phone, dark=dark):
        row(page, "72104")
        shows(page, "number", "72104")
        overflow = "return document.documentElement.scrollWidth - document.documentElement.clientWidth"
        assert page.execute_script(overflow) == 0
        outside = (
            "return [...document.querySelectorAll('main *:not(.unseen)')].filter((element) => "
            "element.getBoundingClientRect().right > innerWidth + 1).map((element) => element.outerHTML)"
        )
        assert page.execute_script(outside) == []


def test_default_model_is_named(page: WebDriver) -> None:
    assert page.find_element(By.CSS_SELECTOR, "#model option").text == "digits (default)"


def test_server_that_is_gone_is_told_and_answers_what_is_drawn_once_it_is_back(browser: WebDriver) -> None:
    with FakeServer() as first, serving_page(first.address) as url:
        browser.get(url)
        shows(browser, "status", "is ready")
        first.stop()
        ActionChains(browser).send_keys("4").perform()
        shows(browser, "status", "the server does not answer")
        shows(browser, "problem", f"no server answers at {first.address} (connection refused)")
        shows(browser, "confidence", "No answer")
        with FakeServer(port=int(first.address.split(":")[1])):
            shows(browser, "status", "is ready")
            shows(browser, "number", "0")  # the fake's digit for black corners
    browser.get_log("browser")  # the failed requests are in it
