"""`grpc.health.v1`: the server as a whole, its services, and each model.

The servicer of grpcio-health-checking is not used: a watcher that leaves removes the others of its name, and
a watcher that does not read blocks every change.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from grpc_health.v1 import health_pb2

from server.errors import NotFoundError, quoted
from server.rpc.call import Request
from server.rpc.stream import StreamRequest

HEALTH_SERVICE = health_pb2.DESCRIPTOR.services_by_name["Health"]
OVERALL = ""
Response = health_pb2.HealthCheckResponse


class Health:
    """The health service: NOT_SERVING at first, and finally once draining."""

    def __init__(self, services: Iterable[str]) -> None:
        self.serving = False
        self._services = (OVERALL, *services)
        self._states = dict.fromkeys(self._services, False)
        self._draining = False
        self._watchers: set[_Watcher] = set()

    def update(self, ready: bool, models: Mapping[str, bool]) -> None:
        """Set the state of the server and its services to `ready`, and that of each model by `models`."""
        if self._draining:
            return
        self.serving = ready
        self._states = (
            dict.fromkeys(self._states, False) | dict(models) | dict.fromkeys(self._services, ready)
        )
        for watcher in tuple(self._watchers):
            watcher.look()

    def drain(self) -> None:
        """Set every state to NOT_SERVING for good."""
        self.update(ready=False, models={})
        self._draining = True

    def status(self, name: str) -> Any:
        """Return the state of a name, as the protocol encodes it."""
        if name not in self._states:
            return Response.SERVICE_UNKNOWN
        return Response.SERVING if self._states[name] else Response.NOT_SERVING

    def Check(self, request: health_pb2.HealthCheckRequest, _: Request) -> health_pb2.HealthCheckResponse:
        """Return the state of a name; NOT_FOUND if it is unknown."""
        if request.service not in self._states:
            known = ", ".join(repr(name) for name in self._states)
            raise NotFoundError(f"no service or model {quoted(request.service)}; available: {known}")
        return Response(status=self.status(request.service))

    def List(self, _: Any, __: Request) -> Any:
        """Return the state of every name. grpcio-health-checking has the method since 1.85."""
        pb: Any = health_pb2  # typed against the oldest version
        return pb.HealthListResponse(
            statuses={name: Response(status=self.status(name)) for name in self._states}
        )

    def Watch(self, request: health_pb2.HealthCheckRequest, call: StreamRequest) -> None:
        """Send the state of a name, and again at each change."""
        watcher = _Watcher(self, request.service, call)
        self._watchers.add(watcher)
        call.on_over = lambda: self._watchers.discard(watcher)
        watcher.look()


class _Watcher:
    """A stream of states; a slow reader receives only the latest."""

    def __init__(self, health: Health, name: str, call: StreamRequest) -> None:
        self._health = health
        self._name = name
        self._call = call
        self._sent: Any = None
        call.on_sent = self.look

    def look(self) -> None:
        """Send the state if it has changed and the previous one has been sent."""
        status = self._health.status(self._name)
        if status != self._sent and not self._call.sending:
            self._sent = status
            self._call.send(Response(status=status))
