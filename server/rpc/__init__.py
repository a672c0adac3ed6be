"""gRPC, from the completion queue to the services."""
