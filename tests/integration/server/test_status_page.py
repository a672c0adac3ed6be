"""The status page of real servers."""

import shutil
import signal
import urllib.request
from html import unescape
from pathlib import Path

import pytest

from tests.conftest import Publish
from tests.process import running


@pytest.mark.parametrize("workers", [1, 2])
def test_page_tells_what_serves_and_what_happened(tmp_path: Path, publish: Publish, workers: int) -> None:
    publish(tmp_path)
    with running("--model-repository", tmp_path, "--workers", workers) as server:
        server.predict(bytes(784))
        publish(tmp_path, version=2)
        publish(tmp_path, version=3, metrics={})
        shutil.rmtree(tmp_path / "digits" / "1")
        server.process.send_signal(signal.SIGHUP)
        page = ""
        while page.count("version released") < workers:
            status, page = server.get("/")
            assert status == 200
        page = unescape(server.get("/")[1])  # the metrics of that one were read before its news
        assert page.endswith("</table></div>")
        assert "ready" in page
        assert f"{workers} process" in page
        assert "<td>digits<td>2<td>" in page
        assert "<td>digits<td>1<td>" not in page
        assert "test_accuracy" in page  # what the manifest lacks
        assert ("worker 1: " in page) == (workers == 2)


def test_page_is_the_same_size_as_it_says_each_time(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    with running("--model-repository", tmp_path) as server:
        for _ in range(2):
            with urllib.request.urlopen(f"http://127.0.0.1:{server.metrics_port}/") as response:
                assert len(response.read()) == int(response.headers["Content-Length"])
            server.predict(bytes(784 * 1000))
