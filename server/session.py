"""ONNX Runtime sessions: opened on a provider, checked for the right tensors, run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.manifest import CLASSES, IMAGE_BYTES, RefusedError
from server.providers import PROVIDERS

INPUT, OUTPUT = "images", "probabilities"
SIGNATURE = (
    f"input {INPUT} tensor(uint8) [N, {IMAGE_BYTES}]",
    f"output {OUTPUT} tensor(float) [N, {CLASSES}]",
)


class WrongShapeError(Exception):
    """A graph answered with other than ten probabilities for each image."""


@dataclass(frozen=True, slots=True)
class Runtime:
    """What a graph runs on."""

    provider: str = "cpu"
    provider_options: Mapping[str, str] = field(default_factory=dict)
    threads: int = 1
    integers: bool = False  # whether 8-bit graphs may be used


@dataclass(frozen=True, slots=True)
class Session:
    """A graph that can be run."""

    file: str
    onnx: ort.InferenceSession
    runtime: Runtime

    @classmethod
    def open(cls, path: Path, content: bytes, runtime: Runtime, *, trial: bool = False) -> "Session":
        """Open the graph that was read from `path`; its other files, if it has any, lie beside it.

        The memory for a batch is shared by all sessions, of which one runs at a time but for the proof of a new
        version. A trial has its own, which goes with it.

        Raises:
            RefusedError: it cannot be opened on the provider, or it has other tensors than it should.

        """
        options = ort.SessionOptions()
        options.intra_op_num_threads = runtime.threads
        options.inter_op_num_threads = 1
        # Spinning threads burn the core that the event loop needs.
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        options.log_severity_level = 4  # errors are raised too, and logged as our lines
        # Weights beside the graph may only come from the version's folder, not from the working directory.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
        if not trial:
            _share_memory()
            options.add_session_config_entry("session.use_env_allocators", "1")
        wanted, _ = PROVIDERS[runtime.provider]
        # What a provider cannot do falls back to the CPU, operator by operator.
        providers = list(dict.fromkeys([wanted, PROVIDERS["cpu"][0]]))
        provider_options = [dict(runtime.provider_options), {}][: len(providers)]
        try:
            session = ort.InferenceSession(content, options, providers, provider_options)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen unrelated types for a bad graph
            raise RefusedError(f"{path.name} cannot be loaded: {first_line(error)}") from None
        if session.get_providers()[0] != wanted:
            raise RefusedError(
                f"{path.name} cannot be run on {runtime.provider}: its libraries are not there"
            )
        actual = tuple(
            f"{kind} {tensor.name} {tensor.type} [{', '.join(_dimension(d) for d in tensor.shape)}]"
            for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs()))
            for tensor in tensors
        )
        if actual != SIGNATURE:
            raise RefusedError(f"{path.name} has {'; '.join(actual)}; expected {'; '.join(SIGNATURE)}")
        return cls(path.name, session, runtime)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, probabilities float32 (n, 10) out.

        Raises:
            WrongShapeError: it answers with a tensor of another shape.
            Exception: one of ONNX Runtime's many types.

        """
        probabilities: NDArray[np.float32]
        if self.runtime.provider == "cpu":
            (probabilities,) = self.onnx.run([OUTPUT], {INPUT: images})
        else:
            probabilities = self._run_on_device(images)
        # What a graph declares binds it to nothing.
        if probabilities.shape != (len(images), CLASSES):
            raise WrongShapeError(
                f"the answer is a tensor of {list(probabilities.shape)}, expected {[len(images), CLASSES]}"
            )
        return probabilities

    def _run_on_device(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        # One copy to the device and one back, whatever the graph does in between.
        binding = self.onnx.io_binding()
        binding.bind_cpu_input(INPUT, images)
        binding.bind_output(OUTPUT)
        self.onnx.run_with_iobinding(binding)
        probabilities: NDArray[np.float32]
        (probabilities,) = binding.copy_outputs_to_cpu()
        return probabilities


@cache
def _share_memory() -> None:
    """Let the sessions of this process that ask for it allocate from one arena."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, None)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _dimension(size: int | str | None) -> str:
    return str(size) if isinstance(size, int) else "N"
