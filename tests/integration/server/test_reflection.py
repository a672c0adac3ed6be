"""A client that knows the services only by reflection."""

from collections.abc import Iterator
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import grpc
import numpy as np
import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.json_format import MessageToDict
from google.protobuf.message_factory import GetMessageClass
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_reflection.v1alpha.proto_reflection_descriptor_database import ProtoReflectionDescriptorDatabase

from tests.conftest import Publish, linear_answers
from tests.process import WAIT_SECONDS, RunningServer, failure, running

IMAGE = np.random.default_rng(7).integers(0, 256, (1, 784), np.uint8)


class ReflectionClient:
    """Calls unary methods by name."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._channel = channel
        self.database = ProtoReflectionDescriptorDatabase(channel)
        self._pool = DescriptorPool(self.database)

    def call(self, service: str, method: str, /, **fields: Any) -> dict[str, Any]:
        descriptor = self._pool.FindServiceByName(service).methods_by_name[method]
        request = GetMessageClass(descriptor.input_type)(**fields)
        response = GetMessageClass(descriptor.output_type)
        multi = self._channel.unary_unary(
            f"/{service}/{method}",
            request_serializer=type(request).SerializeToString,
            response_deserializer=response.FromString,
        )
        answer: dict[str, Any] = MessageToDict(
            multi(request, timeout=WAIT_SECONDS), preserving_proto_field_name=True
        )
        return answer


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, publish: Publish) -> Iterator[RunningServer]:
    repository = tmp_path_factory.mktemp("repository")
    publish(repository)
    (repository / "digits" / "labels.json").write_text('{"stable": 1, "best": 1}')
    with running("--model-repository", repository) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: RunningServer) -> ReflectionClient:
    return ReflectionClient(server.channel)


def test_every_service_is_listed(client: ReflectionClient) -> None:
    assert set(client.database.get_services()) == {
        "digits.v1.PredictionService",
        "inference.GRPCInferenceService",
        "grpc.health.v1.Health",
        "grpc.reflection.v1alpha.ServerReflection",
        "grpc.reflection.v1.ServerReflection",
    }


def test_both_versions_of_reflection_describe_themselves_and_each_other(server: RunningServer) -> None:
    for asked in ("v1alpha", "v1"):
        method = f"/grpc.reflection.{asked}.ServerReflection/ServerReflectionInfo"
        for about in ("v1alpha", "v1"):
            # The messages of the two are the same on the wire.
            request = reflection_pb2.ServerReflectionRequest(
                file_containing_symbol=f"grpc.reflection.{about}.ServerReflectionRequest"
            )
            call = server.channel.stream_stream(method)(iter([request.SerializeToString()]))
            response = reflection_pb2.ServerReflectionResponse.FromString(next(call))
            (content,) = response.file_descriptor_response.file_descriptor_proto
            assert FileDescriptorProto.FromString(content).package == f"grpc.reflection.{about}"


def test_predict_can_be_called_by_what_reflection_tells(client: ReflectionClient) -> None:
    answer = client.call("digits.v1.PredictionService", "Predict", images=IMAGE.tobytes())
    assert answer["digits"] == [linear_answers(1, IMAGE).argmax()]


def test_infer_can_be_called_by_what_reflection_tells(client: ReflectionClient) -> None:
    answer = client.call(
        "inference.GRPCInferenceService",
        "ModelInfer",
        model_name="digits",
        model_version="stable",
        inputs=[{"name": "images", "datatype": "UINT8", "shape": [1, 784]}],
        raw_input_contents=[IMAGE.tobytes()],
        outputs=[{"name": "probabilities", "parameters": {"classification": {"int64_param": 1}}}],
    )
    assert (answer["model_version"], answer["outputs"][0]["datatype"]) == ("1", "BYTES")


def test_health_can_be_asked_by_what_reflection_tells(client: ReflectionClient) -> None:
    assert client.call("grpc.health.v1.Health", "Check", service="digits") == {"status": "SERVING"}


def test_metadata_tells_the_provenance_of_the_version(client: ReflectionClient) -> None:
    answer = client.call("inference.GRPCInferenceService", "ModelMetadata", name="digits")
    properties = answer["properties"]
    assert len(properties["sha256"]) == 64
    assert (properties["accuracy"], properties["provider"], properties["version"]) == ("0.5", "cpu", "1")
    assert properties["labels"] == "best,stable"
    assert (properties["recipe"], properties["created"]) == ("linear", "2026-01-02T03:04:05Z")


def test_open_stream_does_not_hold_up_the_stop(tmp_path: Path, publish: Publish) -> None:
    publish(tmp_path)
    server = RunningServer("--model-repository", tmp_path, "--grace-seconds", 600)
    requests: SimpleQueue[reflection_pb2.ServerReflectionRequest] = SimpleQueue()
    requests.put(reflection_pb2.ServerReflectionRequest(list_services=""))
    stream = reflection_pb2_grpc.ServerReflectionStub(server.channel).ServerReflectionInfo(
        iter(requests.get, None)
    )
    assert next(stream).list_services_response.service
    server.process.terminate()
    assert server.wait() == 0  # in WAIT_SECONDS, which is less than the grace
    assert failure(lambda: next(stream))[0] == "UNAVAILABLE"
    requests.put(None)
