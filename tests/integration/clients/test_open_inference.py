"""Both protocols give the same answers."""

import numpy as np
import pytest
from numpy.typing import NDArray

from clients import AsyncClient, Client, Connection, InputError, ServerError
from tests.process import RunningServer

IMAGES = np.random.default_rng(0).integers(0, 256, (300, 784), np.uint8)


@pytest.fixture(scope="module")
def ours(server: RunningServer) -> list[tuple[int, float]]:
    with Client(server.address) as client:
        return [(answer.digit, answer.confidence) for answer in client.predict(IMAGES)]


def test_client_speaks_the_open_inference_protocol(
    server: RunningServer, ours: list[tuple[int, float]]
) -> None:
    with Client(Connection(address=server.address, protocol="open-inference")) as client:
        answers = client.predict(IMAGES, probabilities=True)
    assert [answer.digit for answer in answers] == [digit for digit, _ in ours]
    np.testing.assert_allclose(
        [answer.confidence for answer in answers], [share for _, share in ours], atol=1e-5
    )
    assert answers[0].model == "digits"
    assert answers[0].version > 0
    assert sum(answers[0].probabilities or ()) == pytest.approx(1, abs=1e-5)


async def test_async_client_speaks_it_too(server: RunningServer, ours: list[tuple[int, float]]) -> None:
    async with AsyncClient(Connection(address=server.address, protocol="open-inference")) as client:
        answers = await client.predict(IMAGES)
    assert [answer.digit for answer in answers] == [digit for digit, _ in ours]


def test_unknown_model_and_label_are_refused(server: RunningServer) -> None:
    one: NDArray[np.uint8] = IMAGES[:1]
    with Client(Connection(address=server.address, protocol="open-inference")) as client:
        with pytest.raises(ServerError, match="refused"):
            client.predict(one, model="nothing")
        with pytest.raises(InputError, match="no labels"):
            client.predict(one, label="canary")
