"""Loading of versions, and reasons of refusal."""

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from structlog.testing import capture_logs

from server.model.manifest import VersionFiles
from server.model.model import Model
from server.model.session import Runtime, Session, WrongShapeError
from server.model.tuning import Sizes
from tests.conftest import Publish, linear_graph, linear_weights
from tests.graphs import TROUBLE, forgetful_graph, nan_graph
from tests.unit.server.model.refused import refusal


def load(folder: Path, **runtime: Any) -> Model:
    files = VersionFiles.read(folder, folder.parent.parent)
    return Model.load(files, runtime=Runtime(**runtime), max_batch_images=40)


class Device:
    """A session on a provider that is not the CPU, as far as a model can tell."""

    provider = "cuda"

    def __init__(self, session: Session) -> None:
        self.session = session
        self.runs: list[int] = []

    def run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        self.runs.append(len(images))
        return self.session.run(images)


def test_published_version_loads_and_predicts(tmp_path: Path, publish: Publish) -> None:
    model = load(publish(tmp_path, version=3))
    probabilities = model.predict(np.zeros((5, 784), np.uint8))
    assert (model.name, model.version, model.provider) == ("digits", 3, "cpu")
    assert probabilities.shape == (5, 10)
    assert probabilities.dtype == np.float32


def test_eight_bit_graph_is_taken_where_the_runtime_prefers_it(tmp_path: Path, publish: Publish) -> None:
    folder = publish(tmp_path, integers=linear_graph())
    model = load(folder, int8=True)
    assert (model.precision, model.graph.test_accuracy) == ("int8", 0.49)
    assert model.sha256 == hashlib.sha256(linear_graph()).hexdigest()
    assert load(folder).precision == "float32"


def test_eight_bit_graph_that_answers_otherwise_here_is_left(tmp_path: Path, publish: Publish) -> None:
    with capture_logs() as logs:
        model = load(publish(tmp_path, integers=linear_graph(2)), int8=True)
    assert model.precision == "float32"
    (event,) = [each for each in logs if each["event"] == "8-bit graph not used"]
    assert event["reason"].startswith("golden image")


def test_damaged_eight_bit_graph_refuses_the_version(tmp_path: Path, publish: Publish) -> None:
    folder = publish(tmp_path, integers=linear_graph())
    (folder / "model.int8.onnx").write_bytes(b"")
    assert refusal(load, folder).startswith("model.int8.onnx has 0 bytes")


def test_batch_larger_than_a_run_is_split(tmp_path: Path, publish: Publish) -> None:
    model = load(publish(tmp_path))
    assert model.batch_images == 40
    assert model.sizes.run_images < 40
    images = np.random.default_rng(0).integers(0, 256, (37, 784), np.uint8)
    alone = [model.predict(images[number : number + 1]) for number in range(37)]
    np.testing.assert_allclose(model.predict(images), np.concatenate(alone), atol=1e-6)


def test_runs_on_a_device_have_few_sizes(tmp_path: Path, publish: Publish) -> None:
    on_cpu = load(publish(tmp_path))
    device: Any = Device(on_cpu.session)
    model = replace(on_cpu, session=device, sizes=Sizes(8, 40))
    images = np.random.default_rng(0).integers(0, 256, (21, 784), np.uint8)
    np.testing.assert_allclose(model.predict(images), on_cpu.predict(images), atol=1e-6)
    model.predict(images[:3])
    assert device.runs == [8, 8, 8, 4]


def test_verification_ends_where_its_caller_wants_it_to(tmp_path: Path, publish: Publish) -> None:
    def stop() -> None:
        raise InterruptedError

    files = VersionFiles.read(publish(tmp_path), tmp_path)
    with pytest.raises(InterruptedError):
        Model.load(files, runtime=Runtime(), between_runs=stop)


def test_nan_is_returned_as_it_is(tmp_path: Path, publish: Publish) -> None:
    model = load(publish(tmp_path, graph=nan_graph()))
    assert np.isnan(model.predict(np.frombuffer(TROUBLE, np.uint8).reshape(1, 784))).all()


def test_answer_of_another_shape_raises(tmp_path: Path, publish: Publish) -> None:
    model = load(publish(tmp_path, graph=forgetful_graph()))
    with pytest.raises(WrongShapeError, match=r"the answer is a tensor of \[0, 10\], expected \[1, 10\]"):
        model.predict(np.frombuffer(TROUBLE, np.uint8).reshape(1, 784))


def test_graph_with_other_tensors_is_refused(tmp_path: Path, publish: Publish) -> None:
    graph = helper.make_graph(
        [helper.make_node("Identity", ["x"], ["y"])],
        "wrong",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 3])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])],
    )
    wrong = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=10)
    assert refusal(load, publish(tmp_path, graph=wrong.SerializeToString())) == (
        "model.onnx has input x tensor(float) [N, 3]; output y tensor(float) [N, 3]; "
        "expected input images tensor(uint8) [N, 784]; output probabilities tensor(float) [N, 10]"
    )


def test_version_that_answers_otherwise_than_when_published_is_refused(
    tmp_path: Path, publish: Publish
) -> None:
    folder = publish(tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    right = content["golden"]["digits"][2]
    content["golden"]["digits"][2] = (right + 1) % 10
    (folder / "manifest.json").write_text(json.dumps(content))
    assert refusal(load, folder) == (
        f"golden image 2 is predicted as {right}, expected {(right + 1) % 10} (1 of 4 differ)"
    )


def test_version_whose_probabilities_drifted_is_refused(tmp_path: Path, publish: Publish) -> None:
    folder = publish(tmp_path)
    content = json.loads((folder / "manifest.json").read_text())
    content["golden"]["probabilities"][0][0] += 0.01
    (folder / "manifest.json").write_text(json.dumps(content))
    assert refusal(load, folder) == "golden probabilities differ by up to 0.01, expected at most 0.001"


def test_weights_behind_a_link_out_of_the_version_are_not_read(tmp_path: Path, publish: Publish) -> None:
    weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=[784, 10])
    weights.data_location = TensorProto.EXTERNAL
    weights.external_data.add(key="location", value="weights")
    graph = onnx.load_from_string(linear_graph())
    graph.graph.initializer[0].CopyFrom(weights)
    folder = publish(tmp_path, graph=graph.SerializeToString())
    (tmp_path / "outside").write_bytes(linear_weights(1).tobytes())
    (folder / "weights").symlink_to(tmp_path / "outside")
    assert refusal(load, folder).startswith("model.onnx cannot be loaded: ")
    (folder / "weights").unlink()
    (tmp_path / "outside").rename(folder / "weights")
    assert load(folder).predict(np.zeros((1, 784), np.uint8)).shape == (1, 10)


def test_graph_that_asks_for_more_memory_than_there_is_is_refused(tmp_path: Path, publish: Publish) -> None:
    graph = onnx.load_from_string(linear_graph())
    terabytes = numpy_helper.from_array(np.array([10**13]), "terabytes")
    graph.graph.initializer.append(terabytes)
    _, _, softmax = graph.graph.node
    softmax.input[0] = "result"
    graph.graph.node.insert(0, helper.make_node("ConstantOfShape", ["terabytes"], ["zeros"]))
    graph.graph.node.insert(1, helper.make_node("ReduceSum", ["zeros"], ["zero"], keepdims=0))
    graph.graph.node.insert(4, helper.make_node("Add", ["logits", "zero"], ["result"]))
    refused = refusal(load, publish(tmp_path, graph=graph.SerializeToString()))
    assert refused.startswith(("model.onnx cannot be run", "model.onnx cannot be loaded"))


def test_graph_of_ten_thousand_layers_loads(tmp_path: Path, publish: Publish) -> None:
    graph = onnx.load_from_string(linear_graph())
    softmax = graph.graph.node.pop()
    layers = 10_000
    softmax.input[0] = f"layer {layers}"
    graph.graph.node.append(helper.make_node("Identity", ["logits"], ["layer 0"]))
    graph.graph.node.extend(
        helper.make_node("Neg", [f"layer {layer}"], [f"layer {layer + 1}"]) for layer in range(layers)
    )
    graph.graph.node.append(softmax)
    assert load(publish(tmp_path, graph=graph.SerializeToString())).version == 1


def test_linear_graph_of_the_fixtures_is_valid(tmp_path: Path, publish: Publish) -> None:
    onnx.checker.check_model(str(publish(tmp_path) / "model.onnx"))
