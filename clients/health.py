"""What a server says about itself: grpc.health.v1."""

from typing import Literal

from grpc_health.v1 import health_pb2

CHECK = "/grpc.health.v1.Health/Check"
WATCH = "/grpc.health.v1.Health/Watch"

Health = Literal["ready", "not ready", "unknown", "gone"]
"""`unknown`: the server has no such service. `gone`: no server answers."""

_STATUS = health_pb2.HealthCheckResponse


def health(response: health_pb2.HealthCheckResponse) -> Health:
    """Read an answer."""
    if response.status == _STATUS.SERVING:
        return "ready"
    return "unknown" if response.status == _STATUS.SERVICE_UNKNOWN else "not ready"
