"""The server's settings."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from server.errors import StartError

IMAGE_BYTES = 28 * 28
DEFAULT_MODEL = "digits"  # if the setting is empty and there are several models
SHIPPED_REPOSITORY = Path(__file__).parent / "models"


def _check_workers(_type: object, workers: int | str) -> None:
    if isinstance(workers, int) and workers < 1:
        raise ValueError("Must be >= 1, or auto.")


Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
CountOrChosen = Annotated[int, Parameter(validator=Number(gte=0))]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
# gRPC messages are smaller than 2 GiB.
CountOfImages = Annotated[int, Parameter(validator=Number(gte=1, lte=2_500_000))]
Workers = Annotated[int | Literal["auto"], Parameter(validator=_check_workers)]
Level = Literal["debug", "info", "warning", "error"]
Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
Seconds = Annotated[float, Parameter(validator=Number(gte=0))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
# gRPC counts milliseconds in a C int: 24 days.
PositiveSeconds = Annotated[float, Parameter(validator=Number(gte=0.001, lte=2_000_000))]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is a flag and an environment variable `DIGITS_<NAME>`; its docstring is its help."""

    host: str = "127.0.0.1"
    """IP address or host name of the gRPC port, 0.0.0.0 or :: for all interfaces (IPv4 and IPv6), or
    unix:PATH. Change it for callers on other machines."""

    grpc_port: Port = 8500
    """Port of the gRPC services; 0 chooses a free one. Change it if the port is taken."""

    metrics_port: Port = 9090
    """Port of the status page, /metrics, /livez and /readyz; 0 chooses a free one. Change it if taken."""

    metrics_host: str = ""
    """Address of the metrics port; by default that of the gRPC port, or 127.0.0.1 if that is unix:PATH. Set
    it to expose metrics on another interface."""

    health_port: Port | None = None
    """Plaintext port of grpc.health.v1 alone; none by default. Set it for probes without mutual TLS."""

    tls_cert_file: Path | None = None
    """Certificate chain of the gRPC port (PEM), reloaded when it changes; without it, the port is plaintext.
    Set it unless a mesh or proxy encrypts."""

    tls_key_file: Path | None = None
    """Private key of the certificate (PEM, no passphrase). Set it together with the certificate."""

    tls_client_ca_file: Path | None = None
    """Certificate authorities (PEM). Set it to require client certificates (mutual TLS)."""

    token_file: Path | None = None
    """File of hashed bearer tokens, lines of NAME SHA256 [METHOD,METHOD], reloaded when it changes. Set it
    to require a token; health and reflection stay open."""

    model_repository: Path = SHIPPED_REPOSITORY
    """Folder of models; by default the shipped ones. Set it to serve models that you trained."""

    version_policy: tuple[str, ...] = ("latest:1",)
    """Versions to serve in addition to labelled ones: latest:N, all, or specific:V,V; MODEL=POLICY for one
    model; repeatable. Change it to keep older versions callable, or to pin one."""

    model_control: bool = False
    """Accept Triton's RepositoryModelLoad and RepositoryModelUnload. Set it for tools that call them; an
    unloaded model is loaded again on request or at the next start."""

    repository_poll_seconds: Seconds = 2.0
    """Interval of scans for new, changed and removed versions and labels; 0 scans only on SIGHUP. Raise it
    for a slow network file system."""

    workers: Workers = 1
    """Processes that share the port, or auto for one per available CPU. Raise it to use several cores."""

    default_model: str = ""
    """Model for requests that name none; by default digits, or the only model. Set it if the repository has
    several models and none is called digits."""

    provider: Provider = "auto"
    """ONNX Runtime execution provider; auto is the best one installed. Set it to fail if a GPU is
    missing."""

    provider_options: dict[str, str] = field(default_factory=dict)
    """Options of the provider by ONNX Runtime's names, such as --provider-options.device_id 1. Set them to
    choose one of several GPUs or to limit its memory."""

    precision: Literal["auto", "float32"] = "auto"
    """auto serves the 8-bit graph of a version, if it has one and the CPU has instructions for it. Set
    float32 for equal probabilities on every machine."""

    max_batch_images: CountOrChosen = 0
    """Maximum number of images in a batch; 0 is the best measured size for the precision and provider. Lower
    it for less latency under load, raise it for a GPU's throughput."""

    max_queue_images: Count = 16384
    """Maximum number of queued images; beyond it, calls are refused. Lower it to refuse earlier under
    overload, raise it for bursts of large calls."""

    max_request_images: CountOfImages = 4096
    """Maximum number of images in a call. Raise it for batch jobs with larger calls."""

    max_picture_bytes: CountOrChosen = 0
    """Maximum size of PNG and JPEG pictures in BYTES tensors of the Open Inference Protocol; 0 accepts none.
    Set it, for example to 1000000, for callers that cannot send 28x28 images; decoding takes CPU time."""

    max_connections: Count = 4096
    """Maximum number of connections of a process; the limit on open files may lower it. Raise it for more
    clients."""

    connection_age_seconds: PositiveSeconds = 900.0
    """Age at which clients are asked to reconnect, so that they find new replicas; calls in flight finish.
    Lower it if replicas come and go."""

    max_pending_calls: Count = 2000
    """Maximum number of calls and streams in flight of a process; beyond it, calls are refused. Raise it for
    more streams."""

    max_inflight_bytes: Count = 64 * 2**20
    """Maximum size of all messages in flight of a process; beyond it, calls are refused. Raise it together
    with max_request_images, lower it if memory is short."""

    capture_dir: Path | None = None
    """Folder for captured images of low confidence; none by default. Set it to label them with digit-client
    label and train with them (docs/improve.md)."""

    capture_below: Share = 0.8
    """Confidence below which images are captured. Raise it to capture more."""

    capture_max_mb: Count = 100
    """Maximum size of unlabelled images in the capture folder, in megabytes. Raise it to keep more."""

    drain_seconds: Seconds = 5.0
    """Time after SIGTERM to keep answering until load balancers have noticed; SIGINT skips it. Raise it for
    slow ones, set it to 0 without any."""

    grace_seconds: Seconds = 20.0
    """Time for calls in flight to finish after draining. Raise it for long streams; orchestrators must wait
    for both before they kill the process."""

    log_format: Literal["console", "json"] = "console"
    """Format of log lines on standard error: console for people, json for log collectors."""

    log_level: Level = "info"
    """Minimum level of log lines. Set debug, or send SIGUSR2, to log every call."""

    slow_call_seconds: Seconds = 1.0
    """Latency at which unary calls are logged with their queue and compute durations; 0 logs none. Lower it
    to find outliers."""

    @property
    def http_host(self) -> str:
        """The address of the metrics port."""
        return self.metrics_host or ("127.0.0.1" if self.host.startswith("unix:") else self.host)

    def check(self) -> None:
        """Check settings that depend on each other.

        Raises:
            StartError: two settings contradict each other.

        """
        if self.max_request_images > self.max_queue_images:
            raise StartError(
                f"max_request_images {self.max_request_images} is more than "
                f"max_queue_images {self.max_queue_images}: "
                "the largest calls could never be queued; raise max_queue_images too"
            )
        if self.max_request_images * IMAGE_BYTES > self.max_inflight_bytes:
            raise StartError(
                f"a call of max_request_images {self.max_request_images} has "
                f"{self.max_request_images * IMAGE_BYTES} bytes, "
                f"and max_inflight_bytes is {self.max_inflight_bytes}: "
                "the largest calls could never be taken; raise max_inflight_bytes too"
            )
        if self.host.startswith("unix:") and self.workers != 1:
            raise StartError(f"{self.host} cannot be shared by workers: use a port, or one worker")
        if self.model_control and self.workers != 1:
            raise StartError(
                "model_control with several workers: "
                "a call would change the models of one of them; use one worker"
            )
        ports = {"grpc_port": self.grpc_port, "health_port": self.health_port}
        if self.host.startswith("unix:"):
            del ports["grpc_port"]
        if self.http_host == self.host or self.host.startswith("unix:"):
            ports["metrics_port"] = self.metrics_port
        taken: dict[int, str] = {}
        for name, port in ports.items():
            if port and taken.setdefault(port, name) != name:
                raise StartError(f"{taken[port]} and {name} are both {port}: give each a port of its own")
