"""Download from a server of our own on loopback; the real sources are never asked."""

import functools
import http.server
import io
import re
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from trainer.data import mnist
from trainer.data.convert import convert
from trainer.data.dataset import Dataset
from trainer.data.mnist import Source, load_mnist
from trainer.errors import TrainerError

IDX = tuple(
    f"{part}-ubyte.gz"
    for part in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3", "t10k-labels-idx1")
)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def web(tmp_path_factory: pytest.TempPathFactory, small: Dataset) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("web")
    convert(small, folder / "idx", "idx-gz")
    convert(small, folder / "keras", "npz")
    convert(small, folder / "tables", "tsv")
    for path in convert(small, folder / "cut", "idx-gz"):
        path.write_bytes(path.read_bytes()[:-10])
    convert(Dataset("wrong", small.x_test, small.y_test, small.x_test, small.y_test), folder / "wrong", "npz")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=folder))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture(autouse=True)
def small_is_mnist(small: Dataset, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mnist, "MNIST_SHA256", small.sha256)
    monkeypatch.delenv(mnist.URL_VARIABLE, raising=False)


def load(cache: Path, *sources: Source) -> Dataset:
    return load_mnist(sources, cache, io.StringIO())


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("idx", IDX),
        ("keras", ("mnist.npz",)),
        ("tables", ("X_train.tsv", "y_train.tsv", "X_test.tsv", "y_test.tsv")),
    ],
)
def test_every_kind_of_source_gives_the_same_data(
    folder: str, files: tuple[str, ...], web: str, small: Dataset, tmp_path: Path
) -> None:
    dataset = load(tmp_path, Source(f"{web}/{folder}", files))
    assert (dataset.name, dataset.sha256) == ("mnist", small.sha256)


def test_next_source_is_asked_when_one_fails(web: str, small: Dataset, tmp_path: Path) -> None:
    bad = [Source(f"{web}/nowhere", IDX), Source(f"{web}/cut", IDX), Source(f"{web}/wrong", ("mnist.npz",))]
    assert load(tmp_path, *bad, Source(f"{web}/idx", IDX)).sha256 == small.sha256


def test_failure_says_in_one_line_what_is_wrong_with_each_source(web: str, tmp_path: Path) -> None:
    closed = Source("http://127.0.0.1:1/mnist", IDX)
    bad = [
        closed,
        Source(f"{web}/nowhere", IDX),
        Source(f"{web}/cut", IDX),
        Source(f"{web}/wrong", ("mnist.npz",)),
    ]
    with pytest.raises(TrainerError) as refused:
        load(tmp_path, *bad)
    message = str(refused.value)
    assert "127.0.0.1:1 cannot be reached" in message
    assert "answers 404 for train-images-idx3-ubyte.gz" in message
    assert " train-images-idx3-ubyte.gz: damaged gzip" in message
    assert "has other images: sha256" in message
    assert "--data sample needs no network" in message
    assert "\n" not in message
    assert not list(tmp_path.iterdir())


def test_second_time_needs_no_network(web: str, small: Dataset, tmp_path: Path) -> None:
    load(tmp_path, Source(f"{web}/idx", IDX))
    assert [path.name for path in tmp_path.iterdir()] == ["mnist.npz"]
    assert load(tmp_path).sha256 == small.sha256


def test_damaged_cache_is_downloaded_again(web: str, small: Dataset, tmp_path: Path) -> None:
    load(tmp_path, Source(f"{web}/idx", IDX))
    kept = tmp_path / "mnist.npz"
    kept.write_bytes(kept.read_bytes()[:-100])
    assert load(tmp_path, Source(f"{web}/idx", IDX)).sha256 == small.sha256
    assert load(tmp_path).sha256 == small.sha256


def test_mirror_in_the_environment_is_asked_first(
    web: str, small: Dataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(mnist.URL_VARIABLE, f"{web}/idx/")
    assert load(tmp_path).sha256 == small.sha256


def test_progress_is_a_line_a_file_where_nobody_watches(web: str, tmp_path: Path) -> None:
    stream = io.StringIO()
    load_mnist([Source(f"{web}/idx", IDX)], tmp_path, stream)
    lines = stream.getvalue().splitlines()
    assert len(lines) == len(IDX)
    assert lines[0].endswith("train-images-idx3-ubyte.gz 0.0 MB")
    assert "\r" not in stream.getvalue()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_moves_on_a_terminal(web: str, tmp_path: Path) -> None:
    stream = Terminal()
    load_mnist(
        [Source(f"{web}/tables", ("X_train.tsv", "y_train.tsv", "X_test.tsv", "y_test.tsv"))],
        tmp_path,
        stream,
    )
    first, *_, last = stream.getvalue().split("\r")[1:]
    assert re.search(r"X_train\.tsv +0\.1 MB +\d\d%", first)
    assert last.endswith("y_test.tsv 0.0 MB\033[K\n")


def test_cache_that_cannot_be_written_is_named(web: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(TrainerError, match=r"mnist\.npz: cannot keep the download: File exists"):
        load(tmp_path / "file", Source(f"{web}/idx", IDX))
