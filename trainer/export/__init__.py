"""Export of the served model: Keras to verified ONNX, float32 and 8-bit."""
