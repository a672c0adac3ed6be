"""Offline: labelled images in, a verified ONNX model in a model repository out."""
