"""A bare grpc.aio echo server, the baseline of Python handlers.

`python -m tests.bench.echo` prints its port; it runs until it is terminated.
"""

from typing import Any

import grpc
import uvloop

from protos.digits.v1 import prediction_pb2 as pb

ANSWER = pb.PredictResponse(digits=[7], confidences=[0.5], model="digits", version=1)


async def predict(_: pb.PredictRequest, __: Any) -> pb.PredictResponse:
    """Answer without reading the images."""
    return ANSWER


async def main() -> None:
    """Serve on a free port."""
    handler = grpc.unary_unary_rpc_method_handler(
        predict,
        request_deserializer=pb.PredictRequest.FromString,
        response_serializer=pb.PredictResponse.SerializeToString,
    )
    server = grpc.aio.server()
    service = grpc.method_handlers_generic_handler("digits.v1.PredictionService", {"Predict": handler})
    server.add_generic_rpc_handlers((service,))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(main())
