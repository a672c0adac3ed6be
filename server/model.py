"""A model version loaded into ONNX Runtime."""

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.manifest import CLASSES, IMAGE_BYTES, Manifest, RefusedError

GRAPH = "model.onnx"
# Several hundred times the shipped model, and still loaded in seconds beside one that serves.
MAX_GRAPH_BYTES = 256 * 1024 * 1024
INPUT, OUTPUT = "images", "probabilities"
SIGNATURE = (
    f"input {INPUT} tensor(uint8) [N, {IMAGE_BYTES}]",
    f"output {OUTPUT} tensor(float) [N, {CLASSES}]",
)


@dataclass(frozen=True, slots=True)
class Model:
    """A session that is verified, warm and ready to answer."""

    manifest: Manifest
    sha256: str
    provider: str
    session: ort.InferenceSession

    @classmethod
    def load(cls, folder: Path, *, root: Path, threads: int, warm_batch_images: int) -> "Model":
        """Load the version in `folder`, and prove that it answers as it did when it was published.

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
        session = _session(graph, folder, threads)
        model = cls(manifest, manifest.files[GRAPH].sha256, "cpu", session)
        model._check_golden()
        model._warm(warm_batch_images)
        return model

    @property
    def name(self) -> str:
        """The model's name, which is its folder's."""
        return self.manifest.model

    @property
    def version(self) -> int:
        """The version's number, which is its folder's name."""
        return self.manifest.version

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, probabilities float32 (n, 10) out."""
        probabilities: NDArray[np.float32] = self.session.run([OUTPUT], {INPUT: images})[0]
        return probabilities

    def _check_golden(self) -> None:
        golden = self.manifest.golden
        probabilities = self._try(golden.images)
        if probabilities.shape != golden.probabilities.shape:
            raise RefusedError(
                f"{GRAPH} answers {len(golden.images)} images with a tensor of {list(probabilities.shape)}, "
                f"expected {list(golden.probabilities.shape)}"
            )
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

    def _warm(self, batch_images: int) -> None:
        """Run every batch size in use once, so that no caller pays for the first."""
        images = np.zeros((batch_images, IMAGE_BYTES), np.uint8)
        for count in range(1, batch_images + 1):
            self._try(images[:count])

    def _try(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        try:
            return self.predict(images)
        except Exception as error:  # noqa: BLE001 - as many types as for loading
            raise RefusedError(
                f"{GRAPH} cannot be run on {len(images)} images: {_first_line(error)}"
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
            if (size := path.stat().st_size) != expected.size_bytes:
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


def _session(graph: bytes, folder: Path, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    # Spinning threads burn the core that the event loop needs.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    # Weights beside the graph may only come from the version's folder, not from the working directory.
    options.add_session_config_entry("session.model_external_initializers_file_folder_path", str(folder))
    try:
        session = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen unrelated types for a bad graph
        raise RefusedError(f"model.onnx cannot be loaded: {_first_line(error)}") from None
    actual = tuple(
        f"{kind} {tensor.name} {tensor.type} [{', '.join(_dimension(d) for d in tensor.shape)}]"
        for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs()))
        for tensor in tensors
    )
    if actual != SIGNATURE:
        raise RefusedError(f"model.onnx has {'; '.join(actual)}; expected {'; '.join(SIGNATURE)}")
    return session


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def _dimension(size: int | str | None) -> str:
    return str(size) if isinstance(size, int) else "N"
