"""Triton's C++ server with its Python backend, from PyTriton's wheel: `python -m
tests.bench.peers.triton.serve MODEL PORT`.

Needs a Python with a shared library, which the backend's stub is linked to.
"""

import os
import shutil
import sys
import sysconfig
from importlib.util import find_spec
from pathlib import Path

CONFIG = """
backend: "python"
max_batch_size: 64
input [{ name: "images", data_type: TYPE_UINT8, dims: [784] }]
output [{ name: "probabilities", data_type: TYPE_FP32, dims: [10] }]
dynamic_batching { }
instance_group [{ kind: KIND_CPU, count: 1 }]
"""
# The stub ignores PYTHONPATH.
MODEL = """
import sys

sys.path[:0] = {path!r}

import triton_python_backend_utils as triton

from tests.bench.peers.digits import Digits
import numpy as np
from pathlib import Path


class TritonPythonModel:
    def initialize(self, args):
        self.digits = Digits(Path({model!r}))

    def execute(self, requests):
        images = [triton.get_input_tensor_by_name(request, "images").as_numpy() for request in requests]
        probabilities = self.digits.probabilities(np.concatenate(images))
        ends = np.cumsum([len(each) for each in images])[:-1]
        return [
            triton.InferenceResponse([triton.Tensor("probabilities", each)])
            for each in np.split(probabilities, ends)
        ]
"""


def main(model: str, port: str) -> None:
    """Replace this process by the server."""
    library = Path(sysconfig.get_config_var("LIBDIR"), sysconfig.get_config_var("LDLIBRARY"))
    if library.suffix != ".so":
        sys.exit(f"this Python has no shared library ({library}), which Triton's Python backend needs")
    spec = find_spec("pytriton")
    if spec is None or spec.origin is None:
        sys.exit("nvidia-pytriton is not installed")
    home = Path(spec.origin).parent / "tritonserver"
    backend = home / "backends" / "python"
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    shutil.copy(home / "python_backend_stubs" / version / "triton_python_backend_stub", backend)
    repository = Path(sys.prefix) / "repository"
    (repository / "digits" / "1").mkdir(parents=True, exist_ok=True)
    (repository / "digits" / "config.pbtxt").write_text(CONFIG)
    path = [str(Path(__file__).parents[4]), *(each for each in sys.path if each.endswith("site-packages"))]
    (repository / "digits" / "1" / "model.py").write_text(MODEL.format(path=path, model=model))
    libraries = [library.parent, home / "external_libs", os.environ.get("LD_LIBRARY_PATH", "")]
    environment = {"LD_LIBRARY_PATH": ":".join(map(str, libraries)), "PYTHONHOME": sys.base_prefix}
    arguments = {
        "model-repository": repository,
        "backend-directory": home / "backends",
        "grpc-port": port,
        "allow-http": "false",
        "allow-metrics": "false",
    }
    server = str(home / "bin" / "tritonserver")
    os.execve(  # noqa: S606 - a program of the wheel
        server,
        [server, *(f"--{name}={value}" for name, value in arguments.items())],
        os.environ | environment,
    )


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
