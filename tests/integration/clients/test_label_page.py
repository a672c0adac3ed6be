"""The page to label captured images, in a real browser, from the keyboard."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, PngImagePlugin

pytest.importorskip("selenium", reason="NOT RUN: selenium is not installed")

from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webdriver import WebDriver
from selenium.webdriver.support.wait import WebDriverWait

from tests.integration.clients.web_process import serving

WAIT_SECONDS = 20


def capture(folder: Path, name: str, confidence: float) -> None:
    facts = PngImagePlugin.PngInfo()
    answer = {"digit": 7, "confidence": confidence, "model": "digits", "version": 2, "why": "uncertain"}
    facts.add_text("digits", json.dumps(answer | {"time": "2026-11-26T12:00:00Z"}))
    Image.new("L", (28, 28), 200).save(folder / f"{name}.png", pnginfo=facts)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    unlabelled = tmp_path / "unlabelled"
    unlabelled.mkdir()
    for number, name in enumerate(("first", "second", "third", "fourth")):
        capture(unlabelled, name, 0.3 + number / 10)
    (unlabelled / "broken.png").write_bytes(b"no picture")
    return tmp_path


@pytest.fixture
def page(browser: WebDriver, folder: Path) -> Iterator[WebDriver]:
    with serving("label", str(folder)) as url:
        browser.get(url)
        shows(browser, "progress", "0 of 4, 4 left")
        yield browser
        assert [entry for entry in browser.get_log("browser") if "move" not in entry["message"]] == []


def shows(page: WebDriver, element: str, text: str) -> None:
    def is_shown(_: WebDriver) -> bool:
        return text in page.find_element(By.ID, element).text

    WebDriverWait(page, WAIT_SECONDS).until(is_shown, f"#{element} does not show {text!r}")


def press(page: WebDriver, key: str, progress: str) -> None:
    ActionChains(page).send_keys(key).perform()
    shows(page, "progress", progress)


def files(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix() for path in folder.rglob("*.png")}


def test_keys_are_not_lost_while_the_page_waits_for_an_answer(page: WebDriver, folder: Path) -> None:
    ActionChains(page).send_keys("12z3s").perform()
    shows(page, "progress", "3 of 4, 1 left")
    WebDriverWait(page, WAIT_SECONDS).until(lambda _: (folder / "3" / "second.png").is_file())
    labelled = {"1/first.png", "3/second.png", "unlabelled/third.png", "unlabelled/fourth.png"}
    assert files(folder) == labelled | {"unlabelled/broken.png"}


def test_images_are_labelled_from_the_keyboard(page: WebDriver, folder: Path) -> None:
    shows(page, "problem", "broken.png is skipped: cannot identify image file")
    shows(page, "confidence", "30 % sure")
    press(page, "1", "1 of 4, 3 left")
    press(page, Keys.ENTER, "2 of 4, 2 left")
    press(page, "n", "3 of 4, 1 left")
    press(page, "z", "2 of 4, 2 left")
    press(page, "s", "3 of 4, 1 left")
    press(page, "4", "4 of 4, 0 left")
    shows(page, "command", f"digit-trainer train --data mnist --extra {folder}")
    labelled = {"1/first.png", "7/second.png", "unlabelled/third.png", "4/fourth.png"}
    assert files(folder) == labelled | {"unlabelled/broken.png"}
    page.find_element(By.ID, "again").click()
    shows(page, "progress", "0 of 1, 1 left")


def test_image_that_another_person_labelled_is_named_and_passed(page: WebDriver, folder: Path) -> None:
    (folder / "3").mkdir()
    (folder / "unlabelled" / "first.png").rename(folder / "3" / "first.png")
    press(page, "5", "1 of 4, 3 left")
    shows(page, "problem", "first.png is not in unlabelled any more")
    assert "3/first.png" in files(folder)
    page.find_element(By.CSS_SELECTOR, "#accept").click()
    shows(page, "progress", "2 of 4, 2 left")
    assert "7/second.png" in files(folder)


def test_nothing_is_beside_a_phones_screen(page: WebDriver) -> None:
    page.set_window_size(500, 800)  # Chromium's least is 500
    page.execute_cdp_cmd(  # type: ignore[attr-defined]  # Chromium's own
        "Emulation.setDeviceMetricsOverride",
        {"width": 360, "height": 740, "deviceScaleFactor": 2, "mobile": True},
    )
    width = page.execute_script("return document.documentElement.scrollWidth")
    page.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})  # type: ignore[attr-defined]
    page.set_window_size(1100, 900)
    assert width <= 360
