"""Inputs of the fuzzer: nearly valid messages and connections."""

import random

from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2
from grpc_reflection.v1alpha import reflection_pb2

from protos import inference_pb2
from protos.digits.v1 import prediction_pb2
from tests.wire import Speaker, framed

# Must not appear in the log.
TELLTALE = "hunter2"
PIXELS = TELLTALE.encode() + bytes(784 - len(TELLTALE))
FILES = (
    prediction_pb2.DESCRIPTOR,
    inference_pb2.DESCRIPTOR,
    health_pb2.DESCRIPTOR,
    reflection_pb2.DESCRIPTOR,
)


TENSOR = inference_pb2.ModelInferRequest.InferInputTensor
RAW = TENSOR(name="images", datatype="UINT8", shape=[1, 784])
FLOATS = TENSOR(
    name="images",
    datatype="FP32",
    shape=[1, 784],
    contents=inference_pb2.InferTensorContents(fp32_contents=[200.0] * 784),
)
# Messages of the other types have no fields worth filling.
VALID: tuple[Message, ...] = (
    prediction_pb2.PredictRequest(images=PIXELS, model="digits", include_probabilities=True),
    prediction_pb2.PredictRequest(images=PIXELS * 3, version=1),
    prediction_pb2.GetModelRequest(model=TELLTALE),
    inference_pb2.ModelInferRequest(model_name="digits", inputs=[RAW], raw_input_contents=[PIXELS]),
    inference_pb2.ModelInferRequest(model_name="digits", id=TELLTALE, inputs=[FLOATS]),
    inference_pb2.ModelReadyRequest(name=TELLTALE),
    inference_pb2.ModelMetadataRequest(name="digits", version="1"),
    health_pb2.HealthCheckRequest(service=TELLTALE),
    reflection_pb2.ServerReflectionRequest(file_containing_symbol="digits.v1.PredictionService"),
    reflection_pb2.ServerReflectionRequest(file_by_filename=TELLTALE),
    reflection_pb2.ServerReflectionRequest(list_services="*"),
)


def _samples(kind: type[Message]) -> list[bytes]:
    messages = [each for each in VALID if each.DESCRIPTOR.full_name == kind.DESCRIPTOR.full_name]
    return [each.SerializeToString() for each in messages or [kind()]]


# Valid messages for every method of every service, by its path.
METHODS = {
    f"/{service.full_name}/{method.name}": _samples(GetMessageClass(method.input_type))
    for file in FILES
    for service in file.services_by_name.values()
    for method in service.methods
}


def mutated(content: bytes, choose: random.Random) -> bytes:
    """Corrupt `content` in a few ways."""
    for _ in range(choose.randint(1, 3)):
        at = choose.randint(0, len(content))
        match choose.randrange(8):
            case 0:  # other bits
                content = content[:at] + bytes([choose.randrange(256)]) + content[at + 1 :]
            case 1:  # truncated
                content = content[:at]
            case 2:  # noise inside
                content = content[:at] + choose.randbytes(choose.randint(1, 40)) + content[at:]
            case 3:  # a part repeated
                content = content[:at] + content[at : at + 50] * choose.randint(2, 20) + content[at:]
            case 4:  # a huge length or number
                content = content[:at] + b"\xff" * choose.randint(1, 12) + b"\x01" + content[at:]
            case 5:  # an unknown field, an invalid string
                field = choose.randint(1, 2000) << 3 | 2
                tag = bytes([field & 127 | 128, field >> 7 & 127]) if field > 127 else bytes([field])
                content += tag + b"\x03\xff\xfe\x80"
            case 6:  # nested groups or messages
                content += choose.choice([b"\x0b", b"\x2a\x7f", b"\x12\x7f"]) * choose.randint(1, 300)
            case _:  # empty
                content = choose.randbytes(choose.choice([0, 1, 10, 1000]))
    return content


def transcript(choose: random.Random) -> bytes:
    """Return the bytes of a connection with a few nearly valid calls."""
    peer = Speaker()
    for _ in range(choose.randint(1, 4)):
        path, samples = choose.choice(list(METHODS.items()))
        more = choose.choice([(), (("grpc-encoding", "nonsense"),), (("grpc-timeout", "1000000000S"),)])
        stream = peer.begin(path, *more)
        message = framed(choose.choice(samples), flag=choose.choice([0, 0, 1, 7]))
        end = choose.choice([3, len(message)])
        peer.http.send_data(stream, message[:end], end_stream=choose.random() < 0.5)
        if choose.random() < 0.3:
            peer.http.reset_stream(stream)
    content: bytes = peer.http.data_to_send()
    return mutated(content, choose) if choose.random() < 0.8 else content
