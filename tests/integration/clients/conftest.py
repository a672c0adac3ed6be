import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
from numpy.typing import NDArray

from clients.data import read, read_labels
from tests.process import RunningServer, running

if TYPE_CHECKING:
    from selenium.webdriver.remote.webdriver import WebDriver


@pytest.fixture(scope="session")
def server() -> Iterator[RunningServer]:
    """The real server with the shipped models."""
    with running() as server:
        yield server


@pytest.fixture(scope="session")
def test_images(mnist_dir: Path) -> NDArray[np.uint8]:
    """MNIST's 10,000 test images, uint8 (n, 28, 28)."""
    return read(mnist_dir / "t10k-images-idx3-ubyte.gz").images.reshape(-1, 28, 28)


@pytest.fixture(scope="session")
def test_digits(mnist_dir: Path) -> NDArray[np.int64]:
    return read_labels(mnist_dir / "t10k-labels-idx1-ubyte.gz")


@pytest.fixture(scope="session")
def browser() -> "Iterator[WebDriver]":
    """Headless Chromium."""
    webdriver = pytest.importorskip("selenium.webdriver", reason="NOT RUN: selenium is not installed")
    chromium, driver = shutil.which("chromium"), shutil.which("chromedriver")
    if not (chromium and driver):
        pytest.skip("NOT RUN: chromium and chromedriver are needed (Debian: chromium chromium-driver)")
    options = webdriver.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(argument)
    options.add_argument("--window-size=1100,900")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    browser = webdriver.Chrome(options, webdriver.ChromeService(driver))
    yield browser
    browser.quit()
