"""Online: a model repository in, digit predictions over gRPC and Prometheus metrics out."""
