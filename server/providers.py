"""ONNX Runtime's execution providers, by the names that operators use."""

import onnxruntime as ort

from server.errors import StartError
from server.settings import Provider

# The names of ONNX Runtime, and the extra of this project whose build has it; best first.
# TensorRT is never chosen by itself: it compiles for minutes before the first answer.
PROVIDERS = {
    "cuda": ("CUDAExecutionProvider", "server-gpu"),
    "openvino": ("OpenVINOExecutionProvider", "server-openvino"),
    "cpu": ("CPUExecutionProvider", "server"),
    "tensorrt": ("TensorrtExecutionProvider", "server-gpu"),
}


def available() -> list[str]:
    """Return the providers of the installed build of ONNX Runtime, best first."""
    names = set(ort.get_available_providers())
    return [name for name, (theirs, _) in PROVIDERS.items() if theirs in names]


def choose(provider: Provider) -> str:
    """Return the provider to use; `auto` is the best there is.

    Raises:
        StartError: it is not part of the installed build of ONNX Runtime.

    """
    there = available()
    if provider == "auto":
        return there[0]
    if provider not in there:
        raise StartError(
            f"provider {provider!r} is not in the installed ONNX Runtime, which has {', '.join(there)}; "
            f"install digit-serving[{PROVIDERS[provider][1]}]"
        )
    return provider
