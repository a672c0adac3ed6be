"""Online: a model repository in, digit predictions over gRPC and Prometheus metrics out."""

import os

# ONNX Runtime's wheels send telemetry unless this is set before they are imported.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
# gRPC's newer listener has threads of its own read and write; with the one before it the polling thread does,
# which spares a lone caller a third of its wait and a call a tenth of its CPU time.
os.environ.setdefault("GRPC_EXPERIMENTS", "-event_engine_listener")
