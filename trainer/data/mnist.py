"""All of MNIST, downloaded once from the first source that has it and kept in the user's cache."""

import contextlib
import logging
import os
import sys
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO
from urllib.parse import urlsplit

from trainer.data.dataset import Dataset
from trainer.data.folder import load_archive, load_folder
from trainer.data.npz import npz_bytes
from trainer.errors import TrainerError

MNIST_NAME = "mnist"
MNIST_SHA256 = "06b0d1f124c4e5fa796686ade41a9b778edacc8622f2195a352ef479ad44fc16"
"""Dataset.sha256 of MNIST: pixels and digits, so that one checksum fits every source and packing."""

URL_VARIABLE = "DIGITS_MNIST_URL"
"""Environment variable: base URL of the four .gz files on a mirror of one's own, asked first."""

_TIMEOUT_SECONDS = 30
_CHUNK_BYTES = 1 << 16
_REDRAW_SECONDS = 0.1
_IDX_FILES = (
    "train-images-idx3-ubyte.gz",
    "train-labels-idx1-ubyte.gz",
    "t10k-images-idx3-ubyte.gz",
    "t10k-labels-idx1-ubyte.gz",
)
_TABLE_FILES = ("X_train.tsv", "y_train.tsv", "X_test.tsv", "y_test.tsv")


@dataclass(frozen=True)
class Source:
    """A place on the web that has MNIST: files below a base URL."""

    url: str
    files: tuple[str, ...]


SOURCES = (
    Source("https://storage.googleapis.com/cvdf-datasets/mnist", _IDX_FILES),
    Source("https://ossci-datasets.s3.amazonaws.com/mnist", _IDX_FILES),
    Source("https://storage.googleapis.com/tensorflow/tf-keras-datasets", ("mnist.npz",)),
    # The files of the Galaxy tutorial, ten times the size of the others.
    Source("https://zenodo.org/record/4697906/files", _TABLE_FILES),
)


def load_mnist(
    sources: Iterable[Source] = SOURCES, cache: Path | None = None, stream: TextIO = sys.stderr
) -> Dataset:
    """Return MNIST from the cache, or from the first source whose files have its checksum.

    Raises TrainerError, saying what is wrong with each source, when there is none.
    """
    kept = (cache or _user_cache()) / "mnist.npz"
    if kept.exists():
        with contextlib.suppress(TrainerError):  # a damaged copy is downloaded again
            return _verified(load_archive(kept, MNIST_NAME))
    if url := os.environ.get(URL_VARIABLE):
        sources = (Source(url.rstrip("/"), _IDX_FILES), *sources)
    refusals: list[str] = []
    for source in sources:
        try:
            dataset = _download(source, stream)
        except TrainerError as error:
            refusals.append(f"{urlsplit(source.url).netloc} {error}")
            continue
        _keep(kept, dataset)
        return dataset
    raise TrainerError(
        f"--data mnist: no source has it ({'; '.join(refusals)}); "
        f"--data sample needs no network, --data FOLDER reads files that you have, {URL_VARIABLE} names a mirror"
    )


def _user_cache() -> Path:
    import pooch  # noqa: PLC0415  # only needed where nothing else has the data

    return Path(pooch.os_cache("digit-serving"))


def _download(source: Source, stream: TextIO) -> Dataset:
    import pooch  # noqa: PLC0415
    import requests  # noqa: PLC0415  # what pooch downloads with

    pooch.get_logger().setLevel(logging.WARNING)
    with tempfile.TemporaryDirectory(prefix="mnist-") as folder:
        for name in source.files:
            progress = _Progress(f"{urlsplit(source.url).netloc} {name}", stream)
            fetch = pooch.HTTPDownloader(
                progressbar=progress, chunk_size=_CHUNK_BYTES, timeout=_TIMEOUT_SECONDS
            )
            try:
                pooch.retrieve(f"{source.url}/{name}", None, name, folder, downloader=fetch)
            except requests.HTTPError as error:
                status = error.response.status_code if error.response is not None else "nothing"
                raise TrainerError(f"answers {status} for {name}") from error
            except requests.Timeout as error:
                raise TrainerError(f"is silent for {_TIMEOUT_SECONDS} s") from error
            except requests.RequestException as error:
                raise TrainerError("cannot be reached") from error
        try:
            return _verified(load_folder(Path(folder)))
        except TrainerError as error:
            raise TrainerError(str(error).replace(f"{folder}/", "").replace(f"{folder}: ", "")) from error


def _verified(dataset: Dataset) -> Dataset:
    if dataset.sha256 != MNIST_SHA256:
        raise TrainerError(
            f"has other images: sha256 {dataset.sha256[:12]}..., expected {MNIST_SHA256[:12]}..."
        )
    return Dataset(MNIST_NAME, dataset.x_train, dataset.y_train, dataset.x_test, dataset.y_test)


def _keep(path: Path, dataset: Dataset) -> None:
    """Write the cache's copy in one step, so that two downloads at once cannot spoil it."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".mnist-", delete=False) as file:
            file.write(npz_bytes(dataset))
        Path(file.name).replace(path)
    except OSError as error:
        raise TrainerError(f"{path}: cannot keep the download: {error.strerror}") from error


class _Progress:
    """What pooch tells of a download: a line that moves on a terminal, one line a file elsewhere."""

    def __init__(self, what: str, stream: TextIO) -> None:
        self.total = 0
        self._what = what
        self._stream = stream
        self._done = 0
        self._drawn = 0.0

    def update(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if self._stream.isatty() and now - self._drawn > _REDRAW_SECONDS:
            self._drawn = now
            share = f" {min(1.0, self._done / self.total):4.0%}" if self.total else ""
            self._stream.write(f"\r{self._what} {self._done / 1e6:6.1f} MB{share}\033[K")
            self._stream.flush()

    def reset(self) -> None:
        self._done = 0

    def close(self) -> None:
        start = "\r" if self._stream.isatty() else ""
        end = "\033[K" if self._stream.isatty() else ""
        self._stream.write(f"{start}{self._what} {self.total / 1e6:.1f} MB{end}\n")
        self._stream.flush()
