"""A model version loaded into ONNX Runtime."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import structlog
from numpy.typing import NDArray

from server.errors import RefusedError
from server.model.manifest import Graph, Manifest, VersionFiles
from server.model.session import Runtime, Session, first_line
from server.model.tuning import Sizes, padded, sizes, warm_sizes
from server.settings import IMAGE_BYTES

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Model:
    """A version whose graph is loaded, verified and warmed up."""

    manifest: Manifest
    manifest_sha256: str
    graph: Graph
    session: Session
    sizes: Sizes

    @classmethod
    def load(
        cls,
        files: VersionFiles,
        *,
        runtime: Runtime,
        max_batch_images: int = 0,
        between_runs: Callable[[], None] = lambda: None,
    ) -> "Model":
        """Load the graph of a version and verify it against its golden set.

        If the runtime prefers 8-bit graphs, the version's is used, provided that its golden set passes.
        `between_runs` is called before each run of the verification, once the session has started its
        threads; it may raise to end the load.

        Raises:
            RefusedError: the graph cannot be loaded, has other tensors than docs/model-repository.md says, or
                it fails its golden set.

        """
        manifest = files.manifest

        def verified(graph: Graph) -> "Model":
            session = Session.open(files.folder / graph.file, files.graphs[graph.file], runtime)
            chosen = sizes(runtime.provider, graph.precision, max_batch_images)
            model = cls(manifest, files.sha256, graph, session, chosen)
            between_runs()
            model._check_golden()
            model._warm(between_runs)
            return model

        if runtime.int8 and manifest.int8 is not None:
            try:
                return verified(manifest.int8)
            except RefusedError as error:
                version = f"{manifest.model}/{manifest.version}"
                log.warning("8-bit graph not used", version=version, reason=str(error))
        return verified(manifest.float32)

    @property
    def name(self) -> str:
        """The model's name: the name of its folder."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version's number: the name of its folder."""
        return self.manifest.version

    @property
    def sha256(self) -> str:
        """The graph's SHA-256, hexadecimal."""
        return self.manifest.files[self.graph.file].sha256

    @property
    def provider(self) -> str:
        """The execution provider that runs the graph."""
        return self.session.provider

    @property
    def precision(self) -> str:
        """`float32` or `int8`."""
        return self.graph.precision

    @property
    def batch_images(self) -> int:
        """Maximum number of images in a batch."""
        return self.sizes.batch_images

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, probabilities float32 (n, 10) out; a NaN is returned as it is.

        Raises:
            WrongShapeError: the output has another shape.
            Exception: ONNX Runtime failed.

        """
        size = self.sizes.run_images
        if len(images) <= size:
            return self._run(images)
        return np.concatenate(
            [self._run(images[start : start + size]) for start in range(0, len(images), size)]
        )

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        if self.session.provider == "cpu":  # runs any size as fast as a warm one
            return self.session.run(images)
        missing = padded(len(images), self.sizes.run_images) - len(images)
        if missing:
            empty = np.zeros((missing, IMAGE_BYTES), np.uint8)
            return self.session.run(np.concatenate([images, empty]))[: len(images)]
        return self.session.run(images)

    def _check_golden(self) -> None:
        golden = self.graph.golden
        probabilities = self._try(golden.pixels)
        digits, expected = probabilities.argmax(axis=1), np.array(golden.digits)
        if (wrong := np.flatnonzero(digits != expected)).size:
            first = wrong[0]
            raise RefusedError(
                f"golden image {first} is predicted as {digits[first]}, expected {expected[first]} "
                f"({wrong.size} of {len(digits)} differ)"
            )
        difference = float(np.abs(probabilities - np.array(golden.probabilities, np.float32)).max())
        if not difference <= golden.tolerance:
            raise RefusedError(
                f"golden probabilities differ by up to {difference:.2g}, "
                f"expected at most {golden.tolerance:.2g}"
            )

    def _warm(self, between_runs: Callable[[], None]) -> None:
        """Run the sizes in use, since the first run of a size is slow."""
        for count in warm_sizes(self.sizes.run_images):
            between_runs()
            self._try(np.zeros((count, IMAGE_BYTES), np.uint8))

    def _try(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return self.predict(images)
        except Exception as error:  # noqa: BLE001 - as many types as for loading
            raise RefusedError(
                f"{self.graph.file} cannot be run on {len(images)} images: {first_line(error)}"
            ) from None
