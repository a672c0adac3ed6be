"""Health, asked over a real channel while it changes."""

from collections.abc import AsyncIterator

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from server.guests import add_guest
from server.health_service import Health
from server.serve import HEALTH_SERVICE

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING
UNKNOWN = health_pb2.HealthCheckResponse.SERVICE_UNKNOWN


@pytest.fixture
def health() -> Health:
    return Health(["a.Service"])


@pytest.fixture
async def stub(health: Health) -> AsyncIterator[health_pb2_grpc.HealthStub]:
    server = grpc.aio.server()
    add_guest(server, HEALTH_SERVICE, health)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield health_pb2_grpc.HealthStub(channel)
    await server.stop(None)


def about(name: str) -> health_pb2.HealthCheckRequest:
    return health_pb2.HealthCheckRequest(service=name)


async def test_everything_is_born_not_serving(stub: health_pb2_grpc.HealthStub) -> None:
    for name in ("", "a.Service"):
        assert (await stub.Check(about(name))).status == NOT_SERVING


async def test_unknown_name_is_not_found_and_may_be_watched(
    health: Health, stub: health_pb2_grpc.HealthStub
) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.Check(about("digits"))
    assert caught.value.code() == grpc.StatusCode.NOT_FOUND
    assert caught.value.details() == "no service or model 'digits', there is '', 'a.Service'"
    watch = stub.Watch(about("digits"))
    assert (await watch.read()).status == UNKNOWN
    health.update(ready=True, models={"digits": True})
    assert (await watch.read()).status == SERVING


async def test_model_has_a_state_of_its_own_and_keeps_it_when_it_is_gone(
    health: Health, stub: health_pb2_grpc.HealthStub
) -> None:
    health.update(ready=True, models={"digits": True, "letters": False})
    states = [(await stub.Check(about(name))).status for name in ("", "a.Service", "digits", "letters")]
    assert states == [SERVING, SERVING, SERVING, NOT_SERVING]
    health.update(ready=True, models={})
    assert (await stub.Check(about("digits"))).status == NOT_SERVING


async def test_watcher_that_leaves_does_not_take_the_others_with_it(
    health: Health, stub: health_pb2_grpc.HealthStub
) -> None:
    leaves, stays = stub.Watch(about("")), stub.Watch(about(""))
    assert (await leaves.read()).status == (await stays.read()).status == NOT_SERVING
    leaves.cancel()
    health.update(ready=True, models={})
    assert (await stays.read()).status == SERVING


async def test_draining_is_for_good(health: Health, stub: health_pb2_grpc.HealthStub) -> None:
    health.update(ready=True, models={"digits": True})
    watch = stub.Watch(about("digits"))
    assert (await watch.read()).status == SERVING
    health.drain()
    health.update(ready=True, models={"digits": True})
    assert (await watch.read()).status == NOT_SERVING
    assert (await stub.Check(about(""))).status == NOT_SERVING
    health.close()
    assert await watch.read() is grpc.aio.EOF
