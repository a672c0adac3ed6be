"""`grpc.health.v1`: the server as a whole, its services, and each model.

grpcio-health-checking has a servicer too; in it a watcher that leaves takes the other watchers of its name
with it, and one that does not read blocks the change of every status.
"""

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

import grpc
from grpc_health.v1 import health_pb2

from server.calls import Context

Status = health_pb2.HealthCheckResponse
OVERALL = ""


class Health:
    """What Check and Watch answer; everything is NOT_SERVING at first, and for good once draining."""

    def __init__(self, services: Iterable[str]) -> None:
        self.serving = False
        self._services = (OVERALL, *services)
        self._states = dict.fromkeys(self._services, False)
        self._draining = False
        self._closed = False
        self._changed = asyncio.Event()  # set, and replaced, at each change

    def update(self, ready: bool, models: Mapping[str, bool]) -> None:
        """Answer `ready` for the server and its services, and for each model what `models` says."""
        if self._draining:
            return
        self.serving = ready
        self._states = (
            dict.fromkeys(self._states, False) | dict(models) | dict.fromkeys(self._services, ready)
        )
        self._tell()

    def drain(self) -> None:
        """Answer NOT_SERVING for every name from now on."""
        self.update(ready=False, models={})
        self._draining = True

    def close(self) -> None:
        """End the streams of all watchers, which would hold up the stop."""
        self._closed = True
        self._tell()

    def _tell(self) -> None:
        changed, self._changed = self._changed, asyncio.Event()
        changed.set()

    async def Check(
        self, request: health_pb2.HealthCheckRequest, context: Context
    ) -> health_pb2.HealthCheckResponse:
        """Answer the state of one name; NOT_FOUND where there is no such name."""
        if request.service not in self._states:
            known = ", ".join(repr(name) for name in self._states)
            await context.abort(
                grpc.StatusCode.NOT_FOUND, f"no service or model {request.service!r}, there is {known}"
            )
        return health_pb2.HealthCheckResponse(status=self._status(request.service))

    async def List(self, _: Any, __: Context) -> Any:
        """Answer the state of every name. grpcio-health-checking has the method since 1.85."""
        pb: Any = health_pb2  # the types are those of the oldest version
        return pb.HealthListResponse(
            statuses={name: health_pb2.HealthCheckResponse(status=self._status(name)) for name in self._states}
        )

    async def Watch(self, request: health_pb2.HealthCheckRequest, context: Context) -> None:
        """Send the state of one name, and again whenever it changes."""
        sent = None
        while True:
            changed, status = self._changed, self._status(request.service)
            if status != sent:
                await context.write(health_pb2.HealthCheckResponse(status=status))
                sent = status
            if self._closed:
                return
            await changed.wait()

    def _status(self, name: str) -> Any:
        if name not in self._states:
            return Status.SERVICE_UNKNOWN
        return Status.SERVING if self._states[name] else Status.NOT_SERVING
