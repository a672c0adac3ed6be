"""Online: a model repository in, digit predictions over gRPC and Prometheus metrics out."""

import os

# ONNX Runtime's wheels phone home unless told otherwise before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
