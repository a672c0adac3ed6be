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
    """Address of the gRPC port: an IP address, a host name, 0.0.0.0 or :: for every interface (IPv4 and
    IPv6), or unix:PATH. Change it where callers are on other machines."""

    grpc_port: Port = 8500
    """Port of the gRPC services. Change it where it is taken; 0 takes any free one."""

    metrics_port: Port = 9090
    """Port of the status page, /metrics, /livez and /readyz. Change it where it is taken; 0 takes any free
    one."""

    metrics_host: str = ""
    """Address of the metrics port, by default that of the gRPC port. Set it to keep metrics on an interface
    of their own, or where the gRPC port is unix:PATH (then 127.0.0.1 by default)."""

    health_port: Port | None = None
    """Plaintext port of grpc.health.v1 alone, none by default. Set it for probes that cannot do mutual
    TLS."""

    tls_cert_file: Path | None = None
    """Certificate chain of the gRPC port, PEM, read again when it changes; without it, the port is plaintext.
    Set it unless a mesh or a proxy encrypts."""

    tls_key_file: Path | None = None
    """Key of the certificate, PEM without a passphrase. Set it with the certificate."""

    tls_client_ca_file: Path | None = None
    """Certificates of authorities, PEM. Set it to let in only callers with a certificate of theirs (mutual
    TLS)."""

    token_file: Path | None = None
    """File of hashed bearer tokens, a line NAME SHA256 [METHOD,METHOD] each, read again when it changes. Set
    it to answer only calls with one of them; health and reflection stay open."""

    model_repository: Path = SHIPPED_REPOSITORY
    """Folder of models to serve. Set it to serve what you trained; by default, the model that ships with the
    package."""

    version_policy: tuple[str, ...] = ("latest:1",)
    """Versions to serve beside those that labels point at: latest:N, all, or specific:V,V. With MODEL= before
    it, it is that model's own; may be given several times. Change it to keep older versions callable, or to
    pin one."""

    model_control: bool = False
    """Let callers load and unload models by Triton's RepositoryModelLoad and RepositoryModelUnload. Set it
    for tools that do so; an unloaded model stays so until it is loaded again or the server restarts."""

    repository_poll_seconds: Seconds = 2.0
    """How often to look for new, changed and removed versions and labels. Raise it for a slow network file
    system; 0 looks only on SIGHUP."""

    workers: Workers = 1
    """Processes that share the port. Raise it to use more than one core: a number, or auto for one for each
    CPU that this container may use."""

    default_model: str = ""
    """The model that answers a request that names none; by default digits, or the repository's only model.
    Set it where there are several and none is called digits."""

    provider: Provider = "auto"
    """Execution provider of the model; auto is the best that the installed ONNX Runtime has. Set it so that a
    missing GPU is an error rather than slow."""

    provider_options: dict[str, str] = field(default_factory=dict)
    """Options of the provider by ONNX Runtime's names, such as --provider-options.device_id 1. Set them to
    choose one of several GPUs or to bound its memory."""

    precision: Literal["auto", "float32"] = "auto"
    """auto takes the 8-bit graph of a version that has one, on a CPU with instructions for it. Set float32
    for the same probabilities on every machine."""

    max_batch_images: CountOrChosen = 0
    """Most images in one run of the model, larger requests are split; 0 is the best measured for its
    precision and provider. Lower it for less latency under load, raise it for a GPU's throughput."""

    max_queue_images: Count = 16384
    """Most images waiting for the model; past it, calls are refused. Lower it to refuse earlier under
    overload, raise it for bursts of large calls."""

    max_request_images: CountOfImages = 4096
    """Most images in one call. Raise it for batch jobs with larger calls; each holds its memory while it
    waits."""

    max_picture_bytes: CountOrChosen = 0
    """Most bytes of a PNG or JPEG picture of a digit in a BYTES tensor of the Open Inference Protocol; 0
    takes none. Set it, such as to 1000000, for callers that cannot make images of 28x28; decoding takes CPU
    time from predictions."""

    max_connections: Count = 4096
    """Most connections of a process, fewer where the limit on open files is lower. Raise it for more
    clients."""

    connection_age_seconds: PositiveSeconds = 900.0
    """After how long a client is asked to connect again, so that it finds servers that were added. Lower it
    where replicas come and go; calls under way finish."""

    max_pending_calls: Count = 2000
    """Most calls and streams taken up and not answered yet, in one process; past it, calls are refused. Raise
    it for more open streams."""

    max_inflight_bytes: Count = 64 * 2**20
    """Most bytes that the messages of calls under way hold in one process; past it, calls are refused. Raise
    it with max_request_images, lower it where memory is short."""

    capture_dir: Path | None = None
    """Folder for images that the model was not sure of, none by default. Set it to label them with
    digit-client label and train with them; docs/improve.md says what is stored."""

    capture_below: Share = 0.8
    """Images answered with less confidence are captured. Raise it for more of them."""

    capture_max_mb: Count = 100
    """Most megabytes of images that wait for a label in the capture folder. Raise it to keep more of them."""

    drain_seconds: Seconds = 5.0
    """After SIGTERM, how long to keep answering while load balancers notice; SIGINT skips it. Raise it where
    they take longer, 0 where there is none."""

    grace_seconds: Seconds = 20.0
    """How long calls in flight may take to finish once new ones are refused. Raise it for long streams; an
    orchestrator must wait for drain and grace before it kills."""

    log_format: Literal["console", "json"] = "console"
    """How log lines are written to standard error: console for a person. Set json where a collector
    reads them."""

    log_level: Level = "info"
    """The least that is logged. Set debug, or send SIGUSR2, to log every call."""

    slow_call_seconds: Seconds = 1.0
    """Unary calls that take so long get a log line that says where their time went; 0 logs none. Lower it to
    look for outliers."""

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
                "the largest calls could never wait; raise max_queue_images too"
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
