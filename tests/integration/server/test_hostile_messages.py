"""Arbitrary bytes as messages to every method get a status that blames the caller."""

import random
from collections.abc import Iterator

import grpc
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.conftest import Publish
from tests.fuzz.inputs import METHODS, TELLTALE, mutated
from tests.load import DIGIT, IMAGE
from tests.process import WAIT_SECONDS, RunningServer, running

# Statuses for errors of the caller.
FAIR = {
    *("OK", "INVALID_ARGUMENT", "NOT_FOUND", "UNIMPLEMENTED", "RESOURCE_EXHAUSTED", "OUT_OF_RANGE"),
    *("FAILED_PRECONDITION", "PERMISSION_DENIED"),
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository)
    with running("--model-repository", repository) as server:
        yield server
        assert not [line for line in server.lines if "Traceback" in line or TELLTALE in line]


def status(server: RunningServer, path: str, messages: list[bytes]) -> str:
    """Send raw messages and return the status; an endless call is cancelled after an answer."""
    call = server.channel.stream_stream(path)(iter(messages), timeout=WAIT_SECONDS)
    try:
        for _ in call:
            if path.endswith("/Watch"):
                call.cancel()
                return "OK"
    except grpc.RpcError as error:
        return str(error.code().name)
    return "OK"


messages = st.one_of(
    st.binary(max_size=2000),
    st.tuples(st.sampled_from(list(METHODS.values())), st.randoms(use_true_random=False)).map(
        lambda drawn: mutated(drawn[1].choice(drawn[0]), drawn[1])
    ),
)


@pytest.mark.parametrize("path", METHODS)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(sent=st.lists(messages, min_size=1, max_size=2))
@example(sent=[b"\x0a\xff\xff\xff\xff\x7f"])  # two gigabytes to come
@example(sent=[b"\x1a\x02\xff\xfe"])  # no UTF-8
@example(sent=[b"\x0b" * 10_000])  # groups in groups
@example(sent=[])
def test_any_message_gets_a_fair_status(server: RunningServer, path: str, sent: list[bytes]) -> None:
    assert status(server, path, sent) in FAIR


@pytest.mark.parametrize("path", METHODS)
def test_right_message_is_answered(server: RunningServer, path: str) -> None:
    for sample in METHODS[path]:
        answered = status(server, path, [sample])
        assert answered in {"OK", "NOT_FOUND", "INVALID_ARGUMENT", "UNIMPLEMENTED"}
    assert list(server.predict(IMAGE.tobytes()).digits) == [DIGIT]


def test_mutations_are_of_every_kind() -> None:
    sample = METHODS["/digits.v1.PredictionService/Predict"][0]
    kinds = {len(mutated(sample, random.Random(seed))) for seed in range(1000)}
    assert len(kinds) > 100
    assert 0 in kinds
