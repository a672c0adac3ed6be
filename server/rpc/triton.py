"""The extensions of the Open Inference Protocol that Triton's clients and tools ask for."""

from collections.abc import Iterable

from protos import inference_pb2 as pb
from protos.digits.v1 import prediction_pb2
from server.model.manifest import CLASSES
from server.model.session import INPUT, OUTPUT
from server.observability.batch_metrics import Statistics
from server.settings import IMAGE_BYTES
from server.versions.served_model import Serving

EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
# The names that the protocol's other servers give to ONNX graphs on ONNX Runtime.
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
NANOSECONDS, MILLISECONDS = 1e9, 1e3


def configuration(serving: Serving, max_request_images: int) -> pb.ModelConfig:
    """Describe a version as Triton does; `max_batch_size` is of a request, larger ones are split."""
    model = serving.model
    return pb.ModelConfig(
        name=model.name,
        platform=PLATFORM,
        backend=BACKEND,
        max_batch_size=max_request_images,
        input=[pb.ModelInput(name=INPUT, data_type=pb.TYPE_UINT8, dims=[IMAGE_BYTES])],
        output=[pb.ModelOutput(name=OUTPUT, data_type=pb.TYPE_FP32, dims=[CLASSES])],
        dynamic_batching=pb.ModelDynamicBatching(preferred_batch_size=[model.batch_images]),
        default_model_filename=model.graph.file,
    )


def statistics(serving: Serving, counted: Statistics) -> pb.ModelStatistics:
    """Return what a version did since this process loaded it."""
    batches = counted.batches
    calls, queue, compute = counted.calls, counted.queue_seconds, counted.compute_seconds
    return pb.ModelStatistics(
        name=serving.model.name,
        version=str(serving.model.version),
        last_inference=round(counted.last_time * MILLISECONDS),
        inference_count=sum(images * count for images, (count, _) in batches.items()),
        execution_count=sum(count for count, _ in batches.values()),
        inference_stats=pb.InferStatistics(
            success=_duration(calls, queue + compute),
            fail=_duration(counted.failed_calls, counted.failed_seconds),
            queue=_duration(calls, queue),
            # Requests are views of their messages, and answers are written by the services.
            compute_input=_duration(calls, 0.0),
            compute_infer=_duration(calls, compute),
            compute_output=_duration(calls, 0.0),
        ),
        batch_stats=[
            pb.InferBatchStatistics(
                batch_size=images,
                compute_input=_duration(count, 0.0),
                compute_infer=_duration(count, seconds),
                compute_output=_duration(count, 0.0),
            )
            for images, (count, seconds) in sorted(batches.items())
        ],
    )


def index(versions: Iterable[prediction_pb2.Model], *, only_ready: bool) -> pb.RepositoryIndexResponse:
    """List the versions on disk, READY where they serve."""
    response = pb.RepositoryIndexResponse()
    for version in versions:
        ready = version.state == prediction_pb2.Model.STATE_SERVING
        if ready or not only_ready:
            response.models.add(
                name=version.name,
                version=str(version.version),
                state="READY" if ready else "UNAVAILABLE",
                reason=version.reason,
            )
    return response


def _duration(count: int, seconds: float) -> pb.StatisticDuration:
    return pb.StatisticDuration(count=count, ns=round(seconds * NANOSECONDS))
