"""ONNX Runtime sessions: created for a provider, checked for the expected tensors, run."""

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
# Setting to ONNX Runtime's name and the extra that installs it, in order of preference. `auto` never chooses
# TensorRT, which compiles for minutes before the first answer.
PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "server-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "server-openvino"),
    "cpu": ("CPUExecutionProvider", "server"),
    "tensorrt": ("TensorrtExecutionProvider", "server-gpu"),
}


class WrongShapeError(Exception):
    """The output of a graph does not have ten probabilities for each image."""


def choose_provider(provider: Provider) -> str:
    """Return the provider to use; `auto` is the best one of the installed ONNX Runtime.

    Raises:
        StartError: the installed ONNX Runtime does not have the provider.

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
    """An ONNX Runtime session with the expected tensors."""

    onnx: ort.InferenceSession
    provider: str

    @classmethod
    def open(cls, path: Path, content: bytes, runtime: Runtime) -> "Session":
        """Create a session for the graph read from `path`; its external data, if any, is beside it.

        All sessions of the process share one memory arena.

        Raises:
            RefusedError: the provider cannot run it, or its tensors are not those of SIGNATURE.

        """
        options = ort.SessionOptions()
        # The data plane's thread computes; more threads would compete with it for the same cores.
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 4  # errors are also raised, and logged by us
        # External data may only come from the version's folder, not from the working directory.
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
        _share_arena()
        options.add_session_config_entry("session.use_env_allocators", "1")
        wanted, _ = PROVIDERS[runtime.provider]
        # Operators that the provider lacks run on the CPU.
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
            WrongShapeError: the output has another shape.
            Exception: ONNX Runtime failed.

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
        # ONNX Runtime does not enforce the declared output shape.
        if probabilities.shape != (len(images), CLASSES):
            raise WrongShapeError(
                f"the answer is a tensor of {list(probabilities.shape)}, expected {[len(images), CLASSES]}"
            )
        return probabilities


@cache
def _share_arena() -> None:
    """Register an arena for the sessions of this process that use the environment's allocators."""
    memory = ort.OrtMemoryInfo("Cpu", ort.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, ort.OrtMemType.DEFAULT)
    ort.create_and_register_allocator(memory, None)


def first_line(error: Exception) -> str:
    """Return the first line of an error's message, or its type if it has none."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def _dimension(size: int | str | None) -> str:
    return str(size) if isinstance(size, int) else "N"
