"""Captures images of low confidence, to be labelled by a person and trained with.

The data plane offers answers; a thread writes a few images per second. docs/improve.md describes the files.
"""

import hashlib
import io
import json
import os
import random
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import structlog
from numpy.typing import NDArray
from PIL import Image as Picture
from PIL.PngImagePlugin import PngInfo

from server.errors import StartError
from server.observability import table
from server.observability.series import Store

UNLABELLED = "unlabelled"
# Rate and burst of files for images below the confidence: writing one costs more than predicting it. Of the
# other images, one per second.
UNCERTAIN_A_SECOND, MAX_UNCERTAIN = 8, 64
SAMPLE_EVERY = 200  # mean number of images between two samples
ROUND_SECONDS = 1.0
SCAN_SECONDS = 10.0  # between scans for files of other processes
COMPLAIN_SECONDS = 60.0
CLOSE_SECONDS = 2.0
FILE_BYTES = 4096  # a file system block, the size of a small file on disk

RANDOM = random.Random()  # noqa: S311 - it samples, and keeps no secret

log = structlog.get_logger()


class Image(NamedTuple):
    """An answered image: 784 bytes and the answer."""

    pixels: bytes
    digit: int
    confidence: float
    model: str
    version: int
    why: str  # uncertain or sample


class Capture:
    """Writes a bounded sample of images below a confidence, and a few others, as files.

    Each image is written once, as `DIR/unlabelled/<sha256 of its pixels>.png`; processes may share `folder`.
    """

    def __init__(self, folder: Path, below: float, max_mb: int, store: Store) -> None:
        """Start to capture images below the confidence `below`, 0-1, up to `max_mb` megabytes of files.

        Raises:
            StartError: the folder cannot be created.

        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StartError(f"capture_dir {folder} cannot be made: {error.strerror}") from None
        self._folder = folder
        self._below = below
        self._most_files = max(max_mb * 2**20 // FILE_BYTES, 1)
        self._store = store
        self._lock = threading.Lock()
        self._uncertain: list[Image] = []
        self._samples: list[Image] = []
        self._room = MAX_UNCERTAIN  # reservoir of images below the confidence, for this round
        self._offered = 0  # of them
        self._offered_ever = 0
        self._until_sample = RANDOM.randrange(SAMPLE_EVERY)
        self._unlabelled: list[str] = []
        self._known: set[str] = set()
        self._scanned = self._complained = -COMPLAIN_SECONDS
        self._lost = 0
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._run, name="capture", daemon=True)
        self._thread.start()

    def of(self, model: str, version: int) -> Callable[..., None]:
        """Return an observer for a version's batches."""
        return partial(self._offer, model, version)

    def close(self) -> None:
        """Stop capturing; write what is queued, for at most CLOSE_SECONDS."""
        self._closed.set()
        self._thread.join(CLOSE_SECONDS)

    def _offer(
        self,
        model: str,
        version: int,
        images: NDArray[np.uint8],
        digits: NDArray[np.int64],
        confidences: NDArray[np.float32],
    ) -> None:
        """Sample images (n, 784) uniformly over the round (reservoir sampling, Vitter's algorithm R)."""

        def image(index: int, why: str) -> Image:
            facts = int(digits[index]), float(confidences[index]), model, version
            return Image(images[index].tobytes(), *facts, why)

        with self._lock:
            for index in np.flatnonzero(confidences < self._below).tolist():
                self._offered += 1
                if len(self._uncertain) < self._room:
                    self._uncertain.append(image(index, "uncertain"))
                elif (place := RANDOM.randrange(self._offered)) < self._room:
                    self._uncertain[place] = image(index, "uncertain")
            self._until_sample -= len(digits)
            if self._until_sample < 0 and len(digits):
                index = RANDOM.randrange(len(digits))
                self._until_sample = RANDOM.randrange(2 * SAMPLE_EVERY)
                if confidences[index] >= self._below and not self._samples:
                    self._samples.append(image(index, "sample"))

    def _run(self) -> None:
        closing = False
        while not closing:
            closing = self._closed.wait(ROUND_SECONDS)
            with self._lock:
                images, offered = [*self._uncertain, *self._samples], self._offered
                self._skip("busy", offered - len(self._uncertain))
                self._room += UNCERTAIN_A_SECOND - len(self._uncertain)
                self._room = min(self._room, MAX_UNCERTAIN)
                self._uncertain, self._samples, self._offered = [], [], 0
            self._offered_ever += offered
            try:
                self._keep(images)
            except Exception as error:  # noqa: BLE001 - the images are lost, and that is logged
                self._complain(str(error), len(images))

    def _keep(self, images: list[Image]) -> None:
        folder = self._folder / UNLABELLED
        if images and time.monotonic() >= self._scanned + SCAN_SECONDS:
            self._scan(folder)
        for image in images:
            name = f"{hashlib.sha256(image.pixels).hexdigest()[:32]}.png"
            if name in self._known:
                continue
            try:
                if not self._make_room(folder):
                    self._skip("full", 1)
                    continue
                folder.mkdir(exist_ok=True)
                _write(folder / name, image)
            except OSError as error:
                self._complain(error.strerror or str(error), 1)
                continue
            self._known.add(name)
            self._unlabelled.append(name)
            self._store.add(table.CAPTURED, image.why)

    def _scan(self, folder: Path) -> None:
        """Scan the captured and the labelled images."""
        self._scanned = time.monotonic()
        self._unlabelled = [name for name in _names(folder) if name.endswith(".png")]
        labelled = [
            name
            for other in _names(self._folder)
            if other != UNLABELLED
            for name in _names(self._folder / other)
        ]
        self._known = {*self._unlabelled, *labelled}

    def _make_room(self, folder: Path) -> bool:
        """Tell whether to keep another image; in a full folder it replaces one, with falling probability."""
        if len(self._unlabelled) < self._most_files:
            return True
        if RANDOM.random() * self._offered_ever > self._most_files:
            return False
        place = RANDOM.randrange(len(self._unlabelled))
        (folder / self._unlabelled[place]).unlink(missing_ok=True)
        self._known.discard(self._unlabelled[place])
        self._unlabelled[place] = self._unlabelled[-1]
        self._unlabelled.pop()
        return True

    def _skip(self, reason: str, images: int) -> None:
        self._store.add(table.CAPTURE_SKIPPED, reason, amount=images)

    def _complain(self, reason: str, images: int) -> None:
        """Count lost images; log it once a minute."""
        self._skip("failed", images)
        self._lost += images
        if time.monotonic() >= self._complained + COMPLAIN_SECONDS:
            log.warning("images not captured", folder=str(self._folder), images=self._lost, reason=reason)
            self._complained, self._lost = time.monotonic(), 0


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()] if folder.is_dir() else []


def _write(path: Path, image: Image) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with temporary.open("wb") as file:
            file.write(png(image))
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def png(image: Image) -> bytes:
    """Return an image as a 28x28 grey PNG with the answer in a text chunk named `digits`."""
    facts = {
        "digit": image.digit,
        "confidence": round(image.confidence, 6),
        "model": image.model,
        "version": image.version,
        "time": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "why": image.why,
    }
    text = PngInfo()
    text.add_text("digits", json.dumps(facts))
    content = io.BytesIO()
    Picture.frombytes("L", (28, 28), image.pixels).save(content, "PNG", pnginfo=text)
    return content.getvalue()
