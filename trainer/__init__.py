"""The trainer: from labelled images to a verified ONNX model in a model repository."""

import os

# Must be set before the import: ONNX Runtime's wheels send telemetry by default.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
