"""Changes of versions and labels while a real server serves."""

import base64
import hashlib
import json
import queue
import shutil
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from onnx import TensorProto, helper

from protos.digits.v1 import prediction_pb2 as pb
from tests.conftest import Publish, linear_graph
from tests.graphs import TROUBLE, slow_graph
from tests.process import WAIT_SECONDS, RunningServer, ServerProcess, running

IMAGE = np.random.default_rng(7).integers(0, 256, 784, np.uint8).tobytes()

Arrive = Callable[..., Path]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    (tmp_path / "repository").mkdir()
    return tmp_path / "repository"


@pytest.fixture
def arrive(repository: Path, tmp_path: Path, publish: Publish) -> Arrive:
    """Publish a version as the trainer does: complete, by one rename."""

    def rename(version: int = 1, model: str = "digits", **changes: Any) -> Path:
        complete = publish(tmp_path / "unfinished", model=model, version=version, **changes)
        (repository / model).mkdir(exist_ok=True)
        return complete.rename(repository / model / str(version))

    return rename


class WatchingServer(RunningServer):
    """A server whose repository changes."""

    def look(self) -> None:
        """Make it scan the repository now."""
        self.process.send_signal(signal.SIGHUP)

    def serves(self, *versions: int, model: str = "digits", **labels: int) -> None:
        """Wait until it logs these versions, newest first, and labels."""
        while True:
            event = self.event("versions serve")
            if event["model"] == model and (event["versions"], event["labels"]) == (list(versions), labels):
                return

    def predicts_only(self, version: int) -> None:
        """Wait until this version alone answers: one worker says that it serves it, the others soon do."""
        deadline = time.monotonic() + WAIT_SECONDS
        while (answered := {self.predict(IMAGE).version for _ in range(20)}) != {version}:
            assert time.monotonic() < deadline, f"versions {answered} answer"

    def states(self, model: str = "digits") -> dict[int, str]:
        models = self.stub.ListModels(pb.ListModelsRequest(), timeout=WAIT_SECONDS).models
        return {each.version: pb.Model.State.Name(each.state) for each in models if each.name == model}

    def reason(self, version: int) -> str:
        models = self.stub.ListModels(pb.ListModelsRequest(), timeout=WAIT_SECONDS).models
        (reason,) = [each.reason for each in models if each.version == version and each.reason]
        return reason


@contextmanager
def watching(repository: Path, *arguments: object, poll: float = 0) -> Iterator[WatchingServer]:
    with running(
        "--model-repository", repository, "--repository-poll-seconds", poll, *arguments, kind=WatchingServer
    ) as server:
        yield server


def failure(call: Callable[[], Any]) -> tuple[str, str]:
    with pytest.raises(grpc.RpcError) as caught:
        call()
    return caught.value.code().name, caught.value.details()


def write_labels(repository: Path, **labels: Any) -> None:
    path = repository / "digits" / ".labels.json"
    path.write_text(json.dumps(labels))
    path.rename(repository / "digits" / "labels.json")


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


def test_new_version_is_found_on_sighup_where_polling_is_off(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository) as server:
        arrive(2)
        assert server.predict(IMAGE).version == 1
        server.look()
        server.serves(2)
        assert server.predict(IMAGE).version == 2


def test_every_worker_follows_the_repository(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository, "--workers", 2) as server:
        arrive(2)
        server.look()  # at the supervisor, which tells the workers
        assert [server.event("version released")["version"] for _ in range(2)] == [1, 1]
        assert server.predict(IMAGE).version == 2


def test_open_stream_goes_on_across_a_swap(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository) as server:
        requests: queue.Queue[pb.PredictRequest | None] = queue.Queue()
        answers = server.stub.PredictStream(iter(requests.get, None), timeout=WAIT_SECONDS)
        requests.put(pb.PredictRequest(images=IMAGE))
        assert next(answers).version == 1
        arrive(2)
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


def test_refused_version_is_named_counted_and_tried_again_only_when_its_files_change(
    repository: Path, arrive: Arrive
) -> None:
    arrive(1)
    with watching(repository, poll=0.02) as server:
        graph = linear_graph(2)
        arrive(2, graph=graph[:-100], files={"model.onnx": {"sha256": "", "bytes": len(graph)}})
        reason = f"model.onnx has {len(graph) - 100} bytes, the manifest says {len(graph)}"
        assert server.event("version refused")["reason"] == reason
        arrive(1, model="letters")
        server.serves(1, model="letters")  # a poll later, at least
        assert server.metric("digits_model_load_total", result="refused") == 1
        assert server.metric("digits_repository_problems") == 1
        assert server.reason(2) == reason
        assert server.predict(IMAGE).version == 1
        shutil.rmtree(repository / "digits" / "2")
        arrive(2)
        server.serves(2)
        assert len([line for line in server.lines if '"version refused"' in line]) == 1
        assert server.states()[2] == "STATE_SERVING"


def test_half_copied_version_serves_once_it_is_complete(
    repository: Path, arrive: Arrive, tmp_path: Path, publish: Publish
) -> None:
    arrive(1)
    complete = publish(tmp_path / "elsewhere", version=2)
    with watching(repository, poll=0.02) as server:
        copy = repository / "digits" / "2"
        copy.mkdir()
        shutil.copy(complete / "manifest.json", copy)
        assert (
            server.event("version refused")["reason"]
            == "model.onnx cannot be read: No such file or directory"
        )
        (copy / "model.onnx").write_bytes((complete / "model.onnx").read_bytes()[:50])
        assert "model.onnx has 50 bytes" in server.event("version refused")["reason"]
        assert server.predict(IMAGE).version == 1
        shutil.copy(complete / "model.onnx", copy)
        server.serves(2)


def test_labels_name_versions_move_and_go(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    arrive(2)
    write_labels(repository, stable=1, canary=2)
    with watching(repository) as server:
        assert [server.predict(IMAGE, label=label).version for label in ("stable", "canary")] == [1, 2]
        assert server.predict(IMAGE).version == 1  # unlabelled requests follow stable
        write_labels(repository, stable=2)
        server.look()
        server.serves(2, stable=2)
        assert server.predict(IMAGE, label="stable").version == 2
        assert server.predict(IMAGE).version == 2
        assert failure(lambda: server.predict(IMAGE, label="canary")) == (
            "NOT_FOUND",
            "model 'digits' has no label 'canary'; available: stable",
        )


def test_label_takes_effect_with_its_version_and_not_before(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    write_labels(repository, stable=1)
    with watching(repository) as server:
        write_labels(repository, stable=2)
        server.look()
        problem = "model 'digits': label 'stable' points at version 2, which does not exist"
        assert server.event("repository problem")["problem"] == problem
        assert server.predict(IMAGE, label="stable").version == 1
        assert server.metric("digits_repository_problems") == 1
        arrive(2)
        server.look()
        server.serves(2, stable=2)
        assert server.predict(IMAGE, label="stable").version == 2
        assert server.metric("digits_repository_problems") == 0


def test_broken_labels_change_nothing(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    arrive(2)
    write_labels(repository, stable=1)
    with watching(repository) as server:
        (repository / "digits" / "labels.json").write_text('{"stable": ')
        server.look()
        assert "model 'digits': labels.json is not JSON" in server.event("repository problem")["problem"]
        assert server.predict(IMAGE).version == 1


def test_canary_gets_its_share_and_metrics_of_its_own(repository: Path, arrive: Arrive) -> None:
    arrive(3)
    arrive(4)
    write_labels(repository, stable=3, canary={"version": 4, "share": 0.05})
    with watching(repository) as server:
        calls = [
            server.stub.Predict.future(pb.PredictRequest(images=IMAGE), timeout=WAIT_SECONDS)
            for _ in range(1000)
        ]
        answered = [call.result().version for call in calls]
        assert answered.count(4) == pytest.approx(50, abs=3)
        assert answered.count(3) == 1000 - answered.count(4)
        for version in (3, 4):
            count = server.metric("digits_predictions_total", model="digits", version=str(version))
            assert count == answered.count(version)
            assert server.metric("digits_compute_duration_seconds_count", version=str(version)) > 0
        models = {each.version: each for each in server.stub.ListModels(pb.ListModelsRequest()).models}
        assert (list(models[4].labels), models[4].share) == (["canary"], pytest.approx(0.05))
        assert (list(models[3].labels), models[3].share) == (["stable"], pytest.approx(0.95))
        write_labels(repository, stable=3)  # the rollout is called off
        server.look()
        server.serves(4, 3, stable=3)
        assert {server.predict(IMAGE).version for _ in range(50)} == {3}


def test_withdrawn_version_stops_serving_and_its_series_go(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    with watching(repository) as server:
        arrive(2)
        server.look()
        server.serves(2)
        server.predict(IMAGE)
        shutil.rmtree(repository / "digits" / "2")
        server.look()
        assert server.event("version released")["version"] == 1  # of the first swap
        assert server.event("version released")["version"] == 2
        assert server.predict(IMAGE).version == 1
        page = server.get("/metrics")[1]
        assert 'version="1"' in page
        assert 'version="2"' not in page


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


def test_repository_may_vanish_and_come_back(repository: Path, arrive: Arrive, tmp_path: Path) -> None:
    arrive(1)
    with watching(repository, poll=0.02) as server:
        repository.rename(tmp_path / "gone")
        # A scan under way may find the version without its files first.
        gone = f"model repository {repository} cannot be read: No such file or directory"
        while server.event("repository problem")["problem"] != gone:
            continue
        repository.mkdir()  # where a volume was unmounted, its mount point stays
        assert server.event("repository problem")["problem"].startswith(
            f"model repository {repository} has no models, "
        )
        assert server.predict(IMAGE).version == 1
        assert server.get("/readyz")[0] == 200
        repository.rmdir()
        (tmp_path / "gone").rename(repository)
        arrive(2)
        server.serves(2)
        assert server.predict(IMAGE).version == 2
        assert server.metric("digits_repository_problems") == 0


def test_mount_that_is_swapped_by_a_link_is_followed(tmp_path: Path, publish: Publish) -> None:
    """A volume as Kubernetes updates it: every entry is a link through `..data`, which is renamed over."""
    mount = tmp_path / "mount"
    publish(mount / "..first", version=1)
    (mount / "..data").symlink_to("..first")
    (mount / "digits").symlink_to("..data/digits")
    with watching(mount, poll=0.02) as server:
        assert server.predict(IMAGE).version == 1
        publish(mount / "..second", version=1)  # the same number with other files
        shutil.copytree(publish(tmp_path / "elsewhere", version=2), mount / "..second" / "digits" / "2")
        (mount / "..new").symlink_to("..second")
        (mount / "..new").rename(mount / "..data")
        shutil.rmtree(mount / "..first")
        server.serves(2)
        assert server.predict(IMAGE).version == 2
        assert not [line for line in server.lines if "refused" in line]


def test_repository_that_is_a_link_is_followed(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path / "release-1", version=1)
    publish(tmp_path / "release-2", version=2)
    current = tmp_path / "current"
    current.symlink_to("release-1")
    with watching(current, poll=0.02) as server:
        (tmp_path / "next").symlink_to("release-2")
        (tmp_path / "next").rename(current)
        server.serves(2)
        assert server.states() == {2: "STATE_SERVING"}


def test_nothing_is_written_into_the_repository(repository: Path, arrive: Arrive) -> None:
    arrive(1)
    arrive(2, metrics={})
    before = {path: path.stat().st_mtime_ns for path in [repository, *repository.rglob("*")]}
    with watching(repository, poll=0.02) as server:
        server.predict(IMAGE)
    assert {path: path.stat().st_mtime_ns for path in [repository, *repository.rglob("*")]} == before


def graph_of(node: Any, *initializers: Any, domains: tuple[str, ...] = ()) -> bytes:
    graph = helper.make_graph(
        [helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT), node],
        "bad",
        [helper.make_tensor_value_info("images", TensorProto.UINT8, ["N", 784])],
        [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10])],
        list(initializers),
    )
    opsets = [helper.make_opsetid(domain, 17) for domain in ("", *domains)]
    content: bytes = helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString()
    return content


def external_weights(location: str) -> bytes:
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[784, 10])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value=location)
    return graph_of(helper.make_node("MatMul", ["pixels", "weights"], ["probabilities"]), weights)


def test_bad_versions_are_each_refused_by_name_and_disturb_nothing(
    repository: Path, arrive: Arrive, tmp_path: Path
) -> None:
    arrive(1)
    good = linear_graph(1)
    (tmp_path / "weights").write_bytes(bytes(4 * 7840))
    arrive(2, graph=np.random.default_rng(1).bytes(5000))
    arrive(3, graph=graph_of(helper.make_node("MatMul", ["pixels", "pixels"], ["probabilities"])))
    arrive(
        4,
        graph=graph_of(
            helper.make_node("Run", ["pixels"], ["probabilities"], domain="evil"), domains=("evil",)
        ),
    )
    arrive(5, graph=external_weights("../../../weights"))
    arrive(6, graph=external_weights(str(tmp_path / "weights")))
    arrive(7, files={"model.onnx": {"sha256": "0" * 64, "bytes": len(good)}}, graph=good)
    arrive(8, files={"model.onnx": {"sha256": "0" * 64, "bytes": 2 * 1024**3}})
    with (repository / "digits" / "8" / "model.onnx").open("r+b") as sparse:
        sparse.truncate(2 * 1024**3)
    arrive(9).rename(tmp_path / "outside")
    (repository / "digits" / "9").symlink_to(tmp_path / "outside")
    arrive(10)
    (repository / "digits" / "10" / "manifest.json").rename(tmp_path / "manifest.json")
    (repository / "digits" / "10" / "manifest.json").symlink_to(tmp_path / "manifest.json")
    golden = {"images": base64.b64encode(bytes(784)).decode(), "digits": [1], "tolerance": 1e-3}
    arrive(11, golden=golden | {"probabilities": [[0.1] * 10]})
    arrive(12, graph=b"")
    arrive(13).rename(repository / "digits" / "v13")
    arrive(14, graph=graph_of(helper.make_node("Gemm", ["pixels", "pixels"], ["probabilities"], transB=1)))
    with watching(repository) as server:
        assert server.predict(IMAGE).version == 1
        models = server.stub.ListModels(pb.ListModelsRequest()).models
        reasons = {each.version: each.reason for each in models if each.reason}
        expected = {
            2: "model.onnx cannot be loaded: ",
            3: "model.onnx has input images tensor(uint8) [N, 784]; output probabilities tensor(float) [N, N",
            4: "model.onnx cannot be loaded: ",
            5: "model.onnx cannot be loaded: ",
            6: "model.onnx cannot be loaded: ",
            7: f"model.onnx has sha256 {hashlib.sha256(good).hexdigest()}, the manifest says 0000",
            8: "model.onnx has 2147483648 bytes, expected at most 268435456",
            9: "the version's folder is outside the repository",
            10: "manifest.json is outside the version's folder",
            11: "golden image 0 is predicted as ",
            12: "model.onnx cannot be loaded: ",
            14: "model.onnx cannot be run on 4 images: the answer is a tensor of [4, 4], expected [4, 10]",
        }
        assert reasons.keys() == expected.keys()
        for version, start in expected.items():
            assert reasons[version].startswith(start), (version, reasons[version])
        (stray,) = [line for line in server.lines if "v13" in line]
        assert "model 'digits': folder 'v13' is not named by a positive integer" in stray
        assert server.metric("digits_repository_problems") == 13
        assert server.metric("digits_model_load_total", result="refused") == 12
        assert psutil.Process(server.process.pid).memory_info().rss < 500e6


def endless(publish: Publish, repository: Path, **changes: Any) -> Path:
    """Publish a version whose verification never ends."""
    golden = {
        "images": base64.b64encode(TROUBLE).decode(),
        "digits": [1],
        "probabilities": [[0.1] * 10],
        "tolerance": 1e-3,
    }
    return publish(repository, graph=slow_graph(10**10), golden=golden, **changes)


@pytest.mark.parametrize("workers", [1, 2])
def test_version_whose_load_hangs_holds_up_no_other_model_and_no_stop(
    repository: Path, arrive: Arrive, publish: Publish, workers: int
) -> None:
    arrive(1)
    arrive(1, model="letters")
    with watching(repository, "--workers", workers, "--grace-seconds", 1) as server:
        endless(publish, repository, model="letters", version=2)
        arrive(2)
        server.look()
        server.serves(2)
        shutil.rmtree(repository / "digits" / "2")  # a rollback
        server.look()
        server.serves(1)
        server.predicts_only(1)
        assert server.predict(IMAGE, model="letters").version == 1
        server.process.terminate()
        assert server.wait() == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_ends_a_start_whose_load_hangs(
    repository: Path, arrive: Arrive, publish: Publish, workers: int
) -> None:
    endless(publish, repository)
    arrive(1, model="letters")
    server = ServerProcess("--model-repository", repository, "--workers", workers)
    assert server.event("version loaded")["model"] == "letters"
    server.process.terminate()
    assert server.wait() == -signal.SIGTERM


def test_repository_that_is_none_names_the_next_step(repository: Path, arrive: Arrive) -> None:
    version = arrive(1)
    for given, message in (
        (
            repository / "digits",
            "is the folder of one model, with version 1; the repository is the folder above it",
        ),
        (
            version / "model.onnx",
            "is a file, expected folders MODEL/VERSION with manifest.json and model.onnx",
        ),
    ):
        server = ServerProcess("--model-repository", given)
        assert server.wait() == 1
        assert message in server.lines[-1]


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


SWAPS = 50


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
