"""Triton's extensions of the Open Inference Protocol: configuration, statistics, repository index."""

from collections.abc import Iterable

from protos import inference_pb2 as pb
from protos.digits.v1 import prediction_pb2
from server.model.manifest import CLASSES
from server.model.session import INPUT, OUTPUT
from server.observability.batch_metrics import Statistics
from server.settings import IMAGE_BYTES
from server.versions.served_model import Serving

EXTENSIONS = ("classification", "model_configuration", "model_repository", "statistics")
# Triton's names of ONNX graphs on ONNX Runtime.
PLATFORM, BACKEND = "onnxruntime_onnx", "onnxruntime"
NANOSECONDS, MILLISECONDS = 1e9, 1e3


def configuration(serving: Serving, max_request_images: int) -> pb.ModelConfig:
    """Return Triton's configuration of a version; `max_batch_size` is the maximum of a request."""
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
    """Return the statistics of a version since this process loaded it."""
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
            # Inputs are views of the requests, outputs are encoded by the services: neither is measured.
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
    """List the versions on disk, READY if they serve."""
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
