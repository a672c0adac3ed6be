"""One version of a model: its manifest, its ONNX Runtime session, its verification."""
