"""Versions that a real server refuses, or whose load hangs."""

import base64
import hashlib
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
from onnx import TensorProto, helper

from protos.digits.v1 import prediction_pb2 as pb
from tests.conftest import Publish, linear_graph
from tests.graphs import TROUBLE, slow_graph
from tests.integration.server.versions.watching import IMAGE, Arrive, watching
from tests.process import ServerProcess


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


def endless(publish: Publish, repository: Path, **changes: Any) -> Path:
    """Publish a version whose verification never ends."""
    golden = {
        "images": base64.b64encode(TROUBLE).decode(),
        "digits": [1],
        "probabilities": [[0.1] * 10],
        "tolerance": 1e-3,
    }
    return publish(repository, graph=slow_graph(10**10), golden=golden, **changes)


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
        (repository / "digits" / "2").rename(repository / "digits" / ".2")  # at once, unlike rmtree
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
