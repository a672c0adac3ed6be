"""One version of a model: its files, its graph in ONNX Runtime, its verification."""
