"""A model version loaded into ONNX Runtime."""

import hashlib
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from server import cpus
from server.background import return_memory
from server.calibration import best_batch, measure
from server.manifest import IMAGE_BYTES, Manifest, RefusedError
from server.session import Runtime, Session, first_line

GRAPH = "model.onnx"
# Several hundred times the shipped model, and still loaded in seconds beside one that serves.
MAX_GRAPH_BYTES = 256 * 1024 * 1024
# The largest batch that is tried: past it a CPU's caches overflow, while a GPU only begins to be busy.
LARGEST_CPU_BATCH, LARGEST_GPU_BATCH = 256, 4096
# More threads must be worth the cores that they take from others.
WORTH_THREADS = 1.3

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Model:
    """A session that is verified, warm and ready to answer."""

    manifest: Manifest
    session: Session
    max_batch_images: int

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        root: Path,
        runtime: Runtime,
        max_batch_images: int,
        between_batches: Callable[[], None] = lambda: None,
    ) -> "Model":
        """Load the version in `folder`, and prove that it answers as it did when it was published.

        Threads of 0 and a `max_batch_images` of 0 are measured. `between_batches` is called before every batch of
        the proof, and may end it by raising; the session's own threads are there by then.

        Raises:
            RefusedError: a file is missing, is outside of `root` or differs from the manifest, the graph has other tensors
                than docs/model-repository.md, or the golden images get other answers.

        """
        _refuse_outside(folder, root, "the version's folder is outside the repository")
        _refuse_outside(folder / "manifest.json", folder, "manifest.json is outside the version's folder")
        manifest = Manifest.read(folder / "manifest.json")
        if (folder.parent.name, folder.name) != (manifest.model, str(manifest.version)):
            raise RefusedError(
                f"manifest.json is of {manifest.model}/{manifest.version}, "
                f"expected {folder.parent.name}/{folder.name}"
            )
        graph = _verified_files(folder, manifest)
        session, batch_images = _tuned(manifest, graph, folder, runtime, max_batch_images)
        model = cls(manifest, session, batch_images)
        between_batches()
        model._check_golden()
        model._warm(between_batches)
        return model

    @property
    def name(self) -> str:
        """The model's name, which is its folder's."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version's number, which is its folder's name."""
        return self.manifest.version

    @property
    def sha256(self) -> str:
        """The graph's SHA-256, hexadecimal."""
        return self.manifest.files[GRAPH].sha256

    @property
    def provider(self) -> str:
        """What it runs on."""
        return self.session.runtime.provider

    @property
    def threads(self) -> int:
        """Threads that compute one batch."""
        return self.session.runtime.threads

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, probabilities float32 (n, 10) out."""
        return self.session.run(images)

    def _check_golden(self) -> None:
        golden = self.manifest.golden
        probabilities = self._try(golden.images)
        digits = probabilities.argmax(axis=1)
        if (wrong := np.flatnonzero(digits != golden.digits)).size:
            first = wrong[0]
            raise RefusedError(
                f"golden image {first} is predicted as {digits[first]}, expected {golden.digits[first]} "
                f"({wrong.size} of {len(digits)} differ)"
            )
        difference = float(np.abs(probabilities - golden.probabilities).max())
        if not difference <= golden.tolerance:
            raise RefusedError(
                f"golden probabilities differ by up to {difference:.2g}, expected at most {golden.tolerance:.2g}"
            )

    def _warm(self, between_batches: Callable[[], None]) -> None:
        """Run every batch size in use once, so that no caller pays for the first."""
        images = np.zeros((self.max_batch_images, IMAGE_BYTES), np.uint8)
        for count in range(1, self.max_batch_images + 1):
            between_batches()
            self._try(images[:count])

    def _try(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return self.predict(images)
        except Exception as error:  # noqa: BLE001 - as many types as for loading
            raise RefusedError(
                f"{GRAPH} cannot be run on {len(images)} images: {first_line(error)}"
            ) from None


def _refuse_outside(path: Path, folder: Path, message: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedError(message)


def _verified_files(folder: Path, manifest: Manifest) -> bytes:
    """Check every file against the manifest and return the graph's bytes, read once."""
    if GRAPH not in manifest.files:
        raise RefusedError(f"manifest.json lists no {GRAPH}")
    graph = b""
    for name, expected in manifest.files.items():
        path = folder / name
        _refuse_outside(path, folder, f"manifest.json lists {name!r}, which is outside the version's folder")
        if name == GRAPH and expected.size_bytes > MAX_GRAPH_BYTES:
            raise RefusedError(f"{name} has {expected.size_bytes} bytes, expected at most {MAX_GRAPH_BYTES}")
        try:
            # Sizes first: they tell a file that is still being copied without reading it.
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise RefusedError(f"{name} is no file")
            if (size := found.st_size) != expected.size_bytes:
                raise RefusedError(f"{name} has {size} bytes, the manifest says {expected.size_bytes}")
            with path.open("rb") as file:
                if name == GRAPH:
                    graph = file.read()
                    actual = hashlib.sha256(graph).hexdigest()
                else:
                    actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RefusedError(f"{name} cannot be read: {error.strerror}") from None
        if actual != expected.sha256:
            raise RefusedError(f"{name} has sha256 {actual}, the manifest says {expected.sha256}")
    return graph


def _tuned(
    manifest: Manifest, graph: bytes, folder: Path, runtime: Runtime, max_batch_images: int
) -> tuple[Session, int]:
    """Open the session, measuring what is not set; return it and the largest batch to run.

    What is measured is measured on sessions of their own, whose memory goes with them.
    """
    if runtime.threads and max_batch_images:
        return Session.open(graph, folder, runtime), max_batch_images
    largest = LARGEST_CPU_BATCH if runtime.provider == "cpu" else LARGEST_GPU_BATCH
    chosen, chosen_batch, chosen_rate = runtime, 0, 0.0
    for threads in [runtime.threads] if runtime.threads else sorted({1, cpus.available()}):
        tried = replace(runtime, threads=threads)
        session = Session.open(graph, folder, tried, trial=True)
        try:
            table = measure(session.run, max_batch_images or largest)
        except Exception as error:  # noqa: BLE001 - as many types as for opening
            raise RefusedError(f"{GRAPH} cannot be run: {first_line(error)}") from None
        batch = max_batch_images or best_batch(table)
        log.info(
            "model measured",
            model=manifest.model,
            version=manifest.version,
            threads=threads,
            images_per_second={each.batch_images: round(each.images_per_second) for each in table},
            best_batch_images=batch,
        )
        rate = max(each.images_per_second for each in table if each.batch_images <= batch)
        if rate > WORTH_THREADS * chosen_rate:
            chosen, chosen_batch, chosen_rate = tried, batch, rate
        del session
    return_memory()
    return Session.open(graph, folder, chosen), chosen_batch
