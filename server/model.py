"""A model version loaded into ONNX Runtime."""

import hashlib
import stat
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import structlog
from numpy.typing import NDArray

from server.manifest import IMAGE_BYTES, Graph, Manifest, RefusedError
from server.session import Runtime, Session, first_line
from server.tuning import Tuning, tried, tune

# Several hundred times the shipped model, and still loaded in seconds beside one that serves.
MAX_GRAPH_BYTES = 256 * 1024 * 1024
# In one run, where two graphs are compared.
COMPARED_IMAGES = 16

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Model:
    """A version whose graph is verified, warm and ready to answer."""

    manifest: Manifest
    graph: Graph
    session: Session
    tuning: Tuning

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        root: Path,
        runtime: Runtime,
        tuning: Tuning,
        between_batches: Callable[[], None] = lambda: None,
    ) -> "Model":
        """Load the version in `folder`, and prove that it answers as it did when it was published.

        Where the runtime may use integers, its 8-bit graph is taken if there is one that proves itself as well, and
        is not slower. `between_batches` is called before every batch of the proof, and may end it by raising; the
        session's own threads are there by then.

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
        contents = _verified_files(folder, manifest)

        def opened(graph: Graph, threads: int, *, trial: bool = False) -> Session:
            own = replace(runtime, threads=threads)
            return Session.open(folder / graph.file, contents[graph.file], own, trial=trial)

        def seconds(graph: Graph) -> float:
            session = opened(graph, tuning.threads or 1, trial=True)
            return tried(session, [COMPARED_IMAGES])[0].seconds

        def proven(graph: Graph) -> "Model":
            title = f"{manifest.model}/{manifest.version}/{graph.file}"
            tuned = tune(title, tuning, lambda threads: opened(graph, threads, trial=True))
            model = cls(manifest, graph, opened(graph, tuned.threads), tuned)
            between_batches()
            model._check_golden()
            model._warm(between_batches)
            return model

        float32, *others = manifest.graphs
        for graph in others if runtime.integers else []:
            try:
                if seconds(graph) <= seconds(float32):
                    return proven(graph)
            except RefusedError as error:
                log.warning(
                    "8-bit graph not used", version=f"{folder.parent.name}/{folder.name}", reason=str(error)
                )
        return proven(float32)

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
        return self.manifest.files[self.graph.file].sha256

    @property
    def provider(self) -> str:
        """What it runs on."""
        return self.session.runtime.provider

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, probabilities float32 (n, 10) out.

        A batch is run in parts that the caches hold.
        """
        size = self.tuning.run_images
        if len(images) <= size:
            return self.session.run(images)
        return np.concatenate(
            [self.session.run(images[start : start + size]) for start in range(0, len(images), size)]
        )

    def _check_golden(self) -> None:
        golden = self.graph.golden
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
        """Run every size in use once, so that no caller pays for the first."""
        largest = min(self.tuning.run_images, self.tuning.batch_images)
        images = np.zeros((largest, IMAGE_BYTES), np.uint8)
        for count in range(1, largest + 1):
            between_batches()
            self._try(images[:count])

    def _try(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return self.predict(images)
        except Exception as error:  # noqa: BLE001 - as many types as for loading
            raise RefusedError(
                f"{self.graph.file} cannot be run on {len(images)} images: {first_line(error)}"
            ) from None


def _refuse_outside(path: Path, folder: Path, message: str) -> None:
    if not path.resolve().is_relative_to(folder.resolve()):
        raise RefusedError(message)


def _verified_files(folder: Path, manifest: Manifest) -> dict[str, bytes]:
    """Check every file against the manifest; return the bytes of the graphs, by name, read once."""
    graphs = {graph.file: b"" for graph in manifest.graphs}
    for name in graphs:
        if name not in manifest.files:
            raise RefusedError(f"manifest.json lists no {name}")
    for name, expected in manifest.files.items():
        path = folder / name
        _refuse_outside(path, folder, f"manifest.json lists {name!r}, which is outside the version's folder")
        if name in graphs and expected.size_bytes > MAX_GRAPH_BYTES:
            raise RefusedError(f"{name} has {expected.size_bytes} bytes, expected at most {MAX_GRAPH_BYTES}")
        try:
            # Sizes first: they tell a file that is still being copied without reading it.
            found = path.stat()
            if not stat.S_ISREG(found.st_mode):
                raise RefusedError(f"{name} is no file")
            if (size := found.st_size) != expected.size_bytes:
                raise RefusedError(f"{name} has {size} bytes, the manifest says {expected.size_bytes}")
            with path.open("rb") as file:
                if name in graphs:
                    graphs[name] = file.read()
                    actual = hashlib.sha256(graphs[name]).hexdigest()
                else:
                    actual = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as error:
            raise RefusedError(f"{name} cannot be read: {error.strerror}") from None
        if actual != expected.sha256:
            raise RefusedError(f"{name} has sha256 {actual}, the manifest says {expected.sha256}")
    return graphs
