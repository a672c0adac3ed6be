"""`grpc.health.v1`: the server as a whole, its services, and each model.

grpcio-health-checking has a servicer too; in it a watcher that leaves takes the other watchers of its name
with it, and one that does not read blocks the change of every status.
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
    """The answers of Check, Watch and List: NOT_SERVING at first, and for good once draining."""

    def __init__(self, services: Iterable[str]) -> None:
        self.serving = False
        self._services = (OVERALL, *services)
        self._states = dict.fromkeys(self._services, False)
        self._draining = False
        self._watchers: set[_Watcher] = set()

    def update(self, ready: bool, models: Mapping[str, bool]) -> None:
        """Answer `ready` for the server and its services, and for each model what `models` says."""
        if self._draining:
            return
        self.serving = ready
        self._states = (
            dict.fromkeys(self._states, False) | dict(models) | dict.fromkeys(self._services, ready)
        )
        for watcher in tuple(self._watchers):
            watcher.look()

    def drain(self) -> None:
        """Answer NOT_SERVING for every name from now on."""
        self.update(ready=False, models={})
        self._draining = True

    def status(self, name: str) -> Any:
        """Return the state of one name, as the protocol writes it."""
        if name not in self._states:
            return Response.SERVICE_UNKNOWN
        return Response.SERVING if self._states[name] else Response.NOT_SERVING

    def Check(self, request: health_pb2.HealthCheckRequest, _: Request) -> health_pb2.HealthCheckResponse:
        """Answer the state of one name; NOT_FOUND where there is no such name."""
        if request.service not in self._states:
            known = ", ".join(repr(name) for name in self._states)
            raise NotFoundError(f"no service or model {quoted(request.service)}, there is {known}")
        return Response(status=self.status(request.service))

    def List(self, _: Any, __: Request) -> Any:
        """Answer the state of every name. grpcio-health-checking has the method since 1.85."""
        pb: Any = health_pb2  # the types are those of the oldest version
        return pb.HealthListResponse(
            statuses={name: Response(status=self.status(name)) for name in self._states}
        )

    def Watch(self, request: health_pb2.HealthCheckRequest, call: StreamRequest) -> None:
        """Send the state of one name, and again whenever it changes."""
        watcher = _Watcher(self, request.service, call)
        self._watchers.add(watcher)
        call.on_over = lambda: self._watchers.discard(watcher)
        watcher.look()


class _Watcher:
    """One stream of states; a caller that does not read gets the last one when it does."""

    def __init__(self, health: Health, name: str, call: StreamRequest) -> None:
        self._health = health
        self._name = name
        self._call = call
        self._sent: Any = None
        call.on_sent = self.look

    def look(self) -> None:
        """Send the state if it is news, and the one before has left."""
        status = self._health.status(self._name)
        if status != self._sent and not self._call.sending:
            self._sent = status
            self._call.send(Response(status=status))
