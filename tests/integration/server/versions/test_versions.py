"""Changes of versions and models while a real server serves."""

import queue
import shutil
import threading
from pathlib import Path

import psutil
from grpc_health.v1 import health_pb2, health_pb2_grpc

from protos.digits.v1 import prediction_pb2 as pb
from tests.integration.server.versions.watching import IMAGE, Arrive, watching
from tests.process import WAIT_SECONDS, ServerProcess, failure

SWAPS = 50


def test_new_version_is_found_by_polling_and_the_old_one_released(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository, poll=0.05) as server:
        assert server.predict(IMAGE).version == 1
        arrive(2)
        assert server.event("version released")["version"] == 1
        assert server.predict(IMAGE).version == 2
        assert server.states() == {2: "STATE_SERVING", 1: "STATE_AVAILABLE"}
        assert failure(lambda: server.predict(IMAGE, version=1)) == (
            "NOT_FOUND",
            "version 1 of model 'digits' does not serve; available: 2",
        )


def test_open_stream_goes_on_across_a_swap(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository) as server:
        requests: queue.Queue[pb.PredictRequest | None] = queue.Queue()
        answers = server.stub.PredictStream(iter(requests.get, None), timeout=WAIT_SECONDS)
        requests.put(pb.PredictRequest(images=IMAGE))
        assert next(answers).version == 1
        arrive(2)
        requests.put(pb.PredictRequest(images=IMAGE))
        assert next(answers).version == 1  # polling is off: nothing changes before the signal
        server.look()
        assert server.event("version released")["version"] == 1  # the stream does not hold on to it
        requests.put(pb.PredictRequest(images=IMAGE))
        assert next(answers).version == 2
        requests.put(None)
        assert list(answers) == []


def test_new_model_is_served_and_healthy(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository) as server:
        arrive(4, model="letters")
        server.look()
        server.serves(4, model="letters")
        assert server.predict(IMAGE, model="letters").version == 4
        health = health_pb2_grpc.HealthStub(server.channel)
        assert health.Check(health_pb2.HealthCheckRequest(service="letters")).status == 1


def test_two_versions_that_arrive_at_once_are_both_looked_at(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository) as server:
        arrive(2)
        arrive(3)
        server.look()
        server.serves(3)
        assert server.states() == {3: "STATE_SERVING", 2: "STATE_AVAILABLE", 1: "STATE_AVAILABLE"}


def test_each_model_has_its_own_policy(repository: Path, arrive: Arrive) -> None:
    for version in (1, 2, 3):
        for model in ("digits", "letters", "signs"):
            arrive(version, model=model)
    policies = ("latest:2", "letters=all", "signs=specific:1,3")
    with watching(
        repository, *(word for policy in policies for word in ("--version-policy", policy))
    ) as server:
        serving = {
            model: [version for version, state in server.states(model).items() if state == "STATE_SERVING"]
            for model in ("digits", "letters", "signs")
        }
        assert serving == {"digits": [3, 2], "letters": [3, 2, 1], "signs": [3, 1]}
        assert [server.predict(IMAGE, model="letters", version=each).version for each in (1, 2, 3)] == [
            1,
            2,
            3,
        ]


def test_model_without_a_serving_version_is_not_healthy_and_says_why(
    repository: Path, arrive: Arrive
) -> None:
    arrive(1)
    arrive(1, model="letters")
    with watching(repository) as server:
        health = health_pb2_grpc.HealthStub(server.channel)
        letters, digits, overall = (
            health.Watch(health_pb2.HealthCheckRequest(service=name), timeout=WAIT_SECONDS)
            for name in ("letters", "digits", "")
        )
        for watch in (letters, digits, overall):
            assert next(watch).status == health_pb2.HealthCheckResponse.SERVING
        shutil.rmtree(repository / "letters")
        server.look()
        assert next(letters).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert failure(lambda: server.predict(IMAGE, model="letters")) == (
            "NOT_FOUND",
            "no version of model 'letters' serves",
        )
        assert server.predict(IMAGE).version == 1
        arrive(1, model="letters")
        server.look()
        assert next(letters).status == health_pb2.HealthCheckResponse.SERVING
        shutil.rmtree(repository / "digits")  # the model that a call without a name is for
        server.look()
        assert next(digits).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert next(overall).status == health_pb2.HealthCheckResponse.NOT_SERVING
        assert server.get("/readyz")[0] == 503


def test_only_model_of_another_name_answers_requests_that_name_none(repository: Path, arrive: Arrive) -> None:
    arrive(1, model="letters")
    with watching(repository) as server:
        assert server.predict(IMAGE).model == "letters"


def test_bad_policy_ends_the_start_with_one_line() -> None:
    for workers in (1, 2):
        server = ServerProcess("--version-policy", "newest", "--workers", workers)
        assert server.wait() == 1
        assert server.lines[-1].startswith(
            "digit-server: 'newest' is not a version policy, expected latest:N, "
        )


def test_fifty_swaps_under_load_fail_no_call_and_leave_no_memory_behind(
    repository: Path, arrive: Arrive
) -> None:
    arrive(1)
    with watching(repository) as server:
        process = psutil.Process(server.process.pid)
        stop = threading.Event()
        answered: list[set[int]] = [set(), set()]
        failures: list[Exception] = []

        def call(seen: set[int]) -> None:
            while not stop.is_set():
                try:
                    seen.add(server.predict(IMAGE * 3).version)
                except Exception as error:  # noqa: BLE001 - whatever it is, the test shall see it
                    failures.append(error)

        callers = [threading.Thread(target=call, args=(seen,)) for seen in answered]
        for caller in callers:
            caller.start()
        sizes = []
        for version in range(2, SWAPS + 2):
            arrive(version)
            server.look()
            assert server.event("version released")["version"] == version - 1
            sizes.append(process.memory_info().rss)
        stop.set()
        for caller in callers:
            caller.join(WAIT_SECONDS)
        assert failures == []
        assert len(answered[0] | answered[1]) > SWAPS / 2
        assert sizes[-1] < sizes[4] * 1.1  # the first few fill the allocator's pools
        assert server.metric("digits_model_load_total", result="loaded") == SWAPS + 1
