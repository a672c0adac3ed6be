"""The served model: Keras in, ONNX out, verified, in float32 and in 8-bit integers."""
