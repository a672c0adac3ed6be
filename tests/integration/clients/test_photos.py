"""Generated photographs, from the client to the shipped model."""

from typing import Literal

import numpy as np
import pytest
from numpy.typing import NDArray

from clients import Client, find_digits, pixels
from tests.integration.clients.photographs import photograph, row, scan
from tests.process import RunningServer

pytestmark = pytest.mark.slow

Bytes = NDArray[np.uint8]
PHOTOGRAPHS = 100
LONGEST = 800  # larger ones take their time to generate; python -m tests.bench.photographs has them


@pytest.mark.mnist
def test_photographs_are_read_where_scaling_alone_fails(
    server: RunningServer, test_images: Bytes, test_digits: Bytes
) -> None:
    rng = np.random.default_rng(5)
    chosen = rng.permutation(len(test_images))[:PHOTOGRAPHS]
    photographs = [photograph(test_images[index], rng, LONGEST) for index in chosen]
    scaled = 255 - pixels(photographs, raw=True)  # at least the right way round
    with Client(server.address) as client:
        found = [answer.digit for answer in client.predict(photographs)]
        raw = [answer.digit for answer in client.predict(scaled)]
    share_found = np.mean(np.array(found) == test_digits[chosen])
    share_raw = np.mean(np.array(raw) == test_digits[chosen])
    assert share_found >= 0.97
    assert share_raw < 0.6


@pytest.mark.mnist
def test_codes_of_five_digits_are_read(server: RunningServer, test_images: Bytes, test_digits: Bytes) -> None:
    rng = np.random.default_rng(3)
    right = 0
    with Client(server.address) as client:
        for _ in range(40):
            chosen = rng.integers(0, len(test_images), 5)
            picture = row(test_images[chosen], rng)
            answers = client.predict([found.image for found in find_digits(picture)])
            right += [answer.digit for answer in answers] == test_digits[chosen].tolist()
    assert right >= 37


@pytest.mark.mnist
@pytest.mark.parametrize("around", ["nothing", "boxes", "comb", "lines"])
def test_rows_of_forms_are_read(
    server: RunningServer,
    test_images: Bytes,
    test_digits: Bytes,
    around: Literal["nothing", "boxes", "comb", "lines"],
) -> None:
    rng = np.random.default_rng(7)
    right = 0
    with Client(server.address) as client:
        for _ in range(25):
            chosen = rng.integers(0, len(test_images), 5)
            found = find_digits(scan(test_images[chosen], around, rng))
            answers = client.predict([digit.image for digit in found])
            right += [answer.digit for answer in answers] == test_digits[chosen].tolist()
    assert right >= 22
