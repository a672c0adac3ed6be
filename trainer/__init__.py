"""Offline: labelled images in, a verified ONNX model in a model repository out."""

import os

# ONNX Runtime's Linux builds send telemetry unless this is set before the first import.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
