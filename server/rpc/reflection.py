"""Server reflection, v1 and v1alpha, which differ only in the name of their package."""

from collections.abc import Iterable
from typing import Any

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorProto
from google.protobuf.descriptor_pool import DescriptorPool
from grpc_reflection.v1alpha import reflection_pb2
from grpc_reflection.v1alpha.reflection import ReflectionServicer

from server.rpc.call import Request

REFLECTION_SERVICE = reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"]
V1ALPHA, V1 = "grpc.reflection.v1alpha", "grpc.reflection.v1"
REFLECTION_NAMES = (REFLECTION_SERVICE.full_name, f"{V1}.ServerReflection")


class Reflection:
    """Describes `services`, which `files` define, and itself."""

    def __init__(self, services: Iterable[str], files: Iterable[FileDescriptor]) -> None:
        pool = DescriptorPool()  # the files are in different pools
        for file in files:
            pool.AddSerializedFile(file.serialized_pb)
        alpha = reflection_pb2.DESCRIPTOR.serialized_pb
        pool.AddSerializedFile(alpha)
        pool.AddSerializedFile(_renamed(alpha))
        self._servicer: Any = ReflectionServicer((*services, *REFLECTION_NAMES), pool)

    def ServerReflectionInfo(self, request: Any, _: Request) -> Any:
        """Answer one request of a stream."""
        return next(self._servicer.ServerReflectionInfo(iter([request]), None))


def _renamed(content: bytes) -> bytes:
    """Return v1alpha's file, renamed to v1."""
    file = FileDescriptorProto.FromString(content)
    file.name = file.name.replace("v1alpha", "v1")
    file.package = V1
    for message in file.message_type:
        for field in message.field:
            if field.type_name:
                field.type_name = field.type_name.replace(V1ALPHA, V1)
    for service in file.service:
        for method in service.method:
            method.input_type = method.input_type.replace(V1ALPHA, V1)
            method.output_type = method.output_type.replace(V1ALPHA, V1)
    return file.SerializeToString()
