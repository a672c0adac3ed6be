"""ONNX Runtime sessions: opened on a provider, checked for the right tensors, run."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from server.errors import RefusedError, StartError
from server.model.manifest import CLASSES
from server.settings import IMAGE_BYTES, Provider

INPUT, OUTPUT = "images", "probabilities"
SIGNATURE = (
    f"input {INPUT} tensor(uint8) [N, {IMAGE_BYTES}]",
    f"output {OUTPUT} tensor(float) [N, {CLASSES}]",
)
# By the names that operators use: the name of ONNX Runtime, and the extra of this project whose build has it;
# best first. TensorRT is never chosen automatically: it compiles for minutes before the first answer.
PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "server-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "server-openvino"),
    "cpu": ("CPUExecutionProvider", "server"),
    "tensorrt": ("TensorrtExecutionProvider", "server-gpu"),
}


class WrongShapeError(Exception):
    """A graph answered with other than ten probabilities for each image."""


def choose_provider(provider: Provider) -> str:
    """Return the provider to use; `auto` is the best of the installed build of ONNX Runtime.

    Raises:
        StartError: the provider is not part of the build.

    """
    names = set(ort.get_available_providers())
    available = [name for name, (theirs, _) in PROVIDERS.items() if theirs in names]
    if provider == "auto":
        return available[0]
    if provider not in available:
        raise StartError(
            f"provider {provider!r} is not in the installed ONNX Runtime; available: {', '.join(available)}; "
            f"in the repository: pip install '.[{PROVIDERS[provider][1]}]'"
        )
    return provider


@dataclass(frozen=True, slots=True)
class Runtime:
    """How graphs are run."""

    provider: str = "cpu"
    provider_options: Mapping[str, str] = field(default_factory=dict)
    int8: bool = False  # whether 8-bit graphs are preferred


@dataclass(frozen=True, slots=True)
class Session:
    """A graph that can be run."""

    onnx: ort.InferenceSession
    provider: str

    @classmethod
    def open(cls, path: Path, content: bytes, runtime: Runtime) -> "Session":
        """Open the graph that was read from `path`; its other files, if it has any, lie beside it.

        All sessions allocate the memory for their batches from one arena.

        Raises:
            RefusedError: it cannot be opened on the provider, or it has other tensors than SIGNATURE.

        """
        options = ort.SessionOptions()
        # The thread that serves calls computes too: more threads would take turns with it on the same cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are raised too, and logged as our lines
        # Weights beside the graph may only come from the version's folder, not from the working directory.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        wanted, _ = PROVIDERS[runtime.provider]
        # Operators that a provider lacks run on the CPU.
        providers = list(dict.fromkeys([wanted, PROVIDERS["cpu"][0]]))
        provider_options = [dict(runtime.provider_options), {}][: len(providers)]
        try:
            session = ort.InferenceSession(content, options, providers, provider_options)
        except Exception as error:  # noqa: BLE001 - ONNX Runtime raises a dozen unrelated types for a bad graph
            raise RefusedError(f"{path.name} cannot be loaded: {first_line(error)}") from None
        if session.get_providers()[0] != wanted:
            raise RefusedError(f"{path.name} cannot be run on {runtime.provider}: its libraries are missing")
        actual = tuple(
            f"{kind} {tensor.name} {tensor.type} [{', '.join(_dimension(d) for d in tensor.shape)}]"
            for kind, tensors in (("input", session.get_inputs()), ("output", session.get_outputs()))
            for tensor in tensors
        )
        if actual != SIGNATURE:
            raise RefusedError(f"{path.name} has {'; '.join(actual)}; expected {'; '.join(SIGNATURE)}")
        return cls(session, runtime.provider)

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Run the graph: uint8 (n, 784) in, probabilities float32 (n, 10) out.

        Raises:
            WrongShapeError: it answers with a tensor of another shape.
            Exception: one of ONNX Runtime's many types.

        """
        probabilities: NDArray[np.float32]
        if self.provider == "cpu":
            (probabilities,) = self.onnx.run([OUTPUT], {INPUT: images})
        else:
            # One copy to the device and one back.
            binding = self.onnx.io_binding()
            binding.bind_cpu_input(INPUT, images)
            binding.bind_output(OUTPUT)
            self.onnx.run_with_iobinding(binding)
            (probabilities,) = binding.copy_outputs_to_cpu()
        # A graph is not bound to the shape that it declares.
        if probabilities.shape != (len(images), CLASSES):
            raise WrongShapeError(
                f"the answer is a tensor of {list(probabilities.shape)}, expected {[len(images), CLASSES]}"
            )
        return probabilities


@cache
def _share_arena() -> None:
    """Let the sessions of this process that ask for it allocate from one arena."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, None)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type where it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _dimension(size: int | str | None) -> str:
    return str(size) if isinstance(size, int) else "N"
