"""Health over a real channel."""

from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.rpc.health import HEALTH_SERVICE, Health
from tests.process import failure
from tests.unit.server.rpc.conftest import WAIT_SECONDS, Running

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


class Served:
    """Health on a loop, and a stub in front of it."""

    def __init__(self, health: Health, running: Running) -> None:
        self.health = health
        self.running = running
        self.stub = health_pb2_grpc.HealthStub(running.channel())

    def check(self, name: str) -> Any:
        return self.stub.Check(health_pb2.HealthCheckRequest(service=name), timeout=WAIT_SECONDS).status

    def watch(self, name: str) -> Any:
        return self.stub.Watch(health_pb2.HealthCheckRequest(service=name), timeout=WAIT_SECONDS)

    def update(self, ready: bool, **models: bool) -> None:
        self.running.on_loop(lambda: self.health.update(ready, models))


@pytest.fixture
def served(serve: Any) -> Iterator[Served]:
    health = Health(["a.Service"])
    with serve(lambda handler: handler.add(HEALTH_SERVICE, health, limited=False), max_calls=0) as running:
        yield Served(health, running)


def test_everything_is_born_not_serving_and_no_bound_holds_for_it(served: Served) -> None:
    assert [served.check(name) for name in ("", "a.Service")] == [NOT_SERVING] * 2


def test_unknown_name_is_not_found_and_may_be_watched(served: Served) -> None:
    details = "no service or model 'digits'; available: '', 'a.Service'"
    assert failure(lambda: served.check("digits")) == ("NOT_FOUND", details)
    watch = served.watch("digits")
    assert next(watch).status == UNKNOWN
    served.update(ready=True, digits=True)
    assert next(watch).status == SERVING


def test_model_has_a_state_of_its_own_and_keeps_it_when_it_is_gone(served: Served) -> None:
    served.update(ready=True, digits=True, letters=False)
    names = ("", "a.Service", "digits", "letters")
    assert [served.check(name) for name in names] == [SERVING, SERVING, SERVING, NOT_SERVING]
    served.update(ready=True)
    assert served.check("digits") == NOT_SERVING


def test_every_name_is_listed_where_the_protocol_has_a_list(served: Served) -> None:
    path, pb = "/grpc.health.v1.Health/List", health_pb2
    call = served.running.channel().unary_unary(path)
    if not hasattr(pb, "HealthListResponse"):  # grpcio-health-checking before 1.85
        assert failure(lambda: call(b""))[0] == "UNIMPLEMENTED"
        return
    served.update(ready=True, digits=False)
    statuses = pb.HealthListResponse.FromString(call(b"")).statuses
    assert {name: each.status for name, each in statuses.items()} == {
        "": SERVING,
        "a.Service": SERVING,
        "digits": NOT_SERVING,
    }


def test_watcher_that_leaves_does_not_take_the_others_with_it(served: Served) -> None:
    leaves, stays = served.watch(""), served.watch("")
    assert next(leaves).status == next(stays).status == NOT_SERVING
    leaves.cancel()
    served.update(ready=True)
    assert next(stays).status == SERVING


def test_watch_without_a_request_is_the_callers_mistake(served: Served) -> None:
    call = served.running.channel().stream_stream("/grpc.health.v1.Health/Watch")(iter([]))
    with pytest.raises(grpc.RpcError):
        next(call)
    assert call.code() == grpc.StatusCode.INVALID_ARGUMENT


def test_draining_is_for_good_and_a_watch_ends_with_the_server(served: Served) -> None:
    served.update(ready=True, digits=True)
    watch = served.watch("digits")
    assert next(watch).status == SERVING
    served.running.on_loop(served.health.drain)
    served.update(ready=True, digits=True)
    assert next(watch).status == NOT_SERVING
    assert served.check("") == NOT_SERVING
    served.running.on_loop(served.running.handler.close_streams)
    assert list(watch) == []
    assert watch.code() == grpc.StatusCode.OK
