"""Everything about the server that an operator may set."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal

from cyclopts import Parameter
from cyclopts.validators import Number

from server.log import Level
from server.policy import Policies

SHIPPED_REPOSITORY = Path(__file__).parent / "models"


def _check_workers(_type: object, workers: int | str) -> None:
    if isinstance(workers, int) and workers < 1:
        raise ValueError("Must be >= 1, or auto.")


Port = Annotated[int, Parameter(validator=Number(gte=0, lte=65535))]
CountOrMeasured = Annotated[int, Parameter(validator=Number(gte=0))]
Count = Annotated[int, Parameter(validator=Number(gte=1))]
Workers = Annotated[int | Literal["auto"], Parameter(validator=_check_workers)]
Provider = Literal["auto", "cpu", "cuda", "tensorrt", "openvino"]
Seconds = Annotated[float, Parameter(validator=Number(gte=0))]
Share = Annotated[float, Parameter(validator=Number(gte=0, lte=1))]
# The C int of milliseconds that gRPC takes ends at 24 days.
PositiveSeconds = Annotated[float, Parameter(validator=Number(gte=0.001, lte=2_000_000))]


def _check_policies(_: object, texts: tuple[str, ...]) -> None:
    Policies.parse(texts)


VersionPolicies = Annotated[tuple[str, ...], Parameter(validator=_check_policies)]


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True, slots=True)
class Settings:
    """Each field is a flag and an environment variable `DIGITS_<NAME>`; its docstring is its help."""

    host: str = "127.0.0.1"
    """Address to listen on; 0.0.0.0 for every interface."""

    grpc_port: Port = 8500
    """Port of the gRPC services; 0 takes any free one."""

    metrics_port: Port = 9090
    """Port of /metrics, /livez and /readyz; 0 takes any free one."""

    metrics_host: str = ""
    """Address that the metrics port listens on; that of the gRPC port by default."""

    health_port: Port | None = None
    """Plaintext port of grpc.health.v1 and nothing else, for probes that cannot do TLS; none by default."""

    tls_cert_file: Path | None = None
    """Certificate chain of the gRPC port, PEM; read again when it changes. Without it, the port is plaintext."""

    tls_key_file: Path | None = None
    """Key of the certificate, PEM without a passphrase."""

    tls_client_ca_file: Path | None = None
    """Certificates of authorities, PEM; given, only callers with a certificate of theirs are let in."""

    token_file: Path | None = None
    """File of hashed bearer tokens, a line NAME SHA256 [METHOD,METHOD] each; given, only calls with one of them
    are answered, but for health and reflection. Read again when it changes."""

    model_repository: Path = SHIPPED_REPOSITORY
    """Folder of models to serve; the model that ships with the package by default."""

    version_policy: VersionPolicies = ("latest:1",)
    """Which versions to serve, beside those that labels point at: latest:N, all, or specific:V,V; MODEL=
    before it makes it that model's own, and the setting may be given several times."""

    repository_poll_seconds: Seconds = 2.0
    """How often to look for new, changed and removed versions and labels; 0 looks only on SIGHUP."""

    workers: Workers = 1
    """Processes that share the port: a number, or auto for one for each CPU that this container may use."""

    default_model: str = "digits"
    """The model that answers a request that names none."""

    provider: Provider = "auto"
    """What runs the model; auto is the best that the installed ONNX Runtime has."""

    provider_options: dict[str, str] = field(default_factory=dict)
    """Options of the provider by ONNX Runtime's names, such as --provider-options.device_id 1."""

    precision: Literal["auto", "float32"] = "auto"
    """auto takes the 8-bit graph of a version that was published with one, on a CPU where it proves itself and
    is not slower."""

    model_threads: CountOrMeasured = 1
    """Threads that compute one batch; 0 measures whether more than one are worth it."""

    max_batch_images: CountOrMeasured = 0
    """Most images that share a batch, larger requests are split; 0 measures the best at the start."""

    max_run_images: CountOrMeasured = 0
    """Most images in one run of the model, a batch may be several; 0 measures the best at the start."""

    max_queue_images: Count = 16384
    """Most images waiting for the model; past it, calls are refused."""

    max_request_images: Count = 4096
    """Most images in one call."""

    max_connections: Count = 4096
    """Most connections at a time, of each worker; fewer where the limit on open files is lower."""

    keepalive_seconds: PositiveSeconds = 60.0
    """How long a connection may be silent: one without a first word is closed, any other is asked whether its
    other end is still there, and closed if no answer comes in as long again."""

    connection_age_seconds: PositiveSeconds = 900.0
    """After how long a client is asked to connect again, so that it finds servers that were added; what is
    under way finishes."""

    max_calls: Count = 2000
    """Most calls and streams under way in one process; past it, calls are refused before they are read."""

    max_pending_calls: Count = 256
    """Most calls that wait until the process has time to look at them; past it gRPC ends more and more of them with
    CANCELLED, all at twice as many. It bounds how long calls wait in overload."""

    max_inflight_bytes: Count = 64 * 2**20
    """Most bytes that the messages of calls under way hold in one process; past it, likewise."""

    max_connection_calls: Count = 128
    """Most calls and streams under way on one connection; gRPC clients keep the rest until there is room."""

    drain_seconds: Seconds = 5.0
    """After SIGTERM, how long to keep answering while load balancers notice; SIGINT skips it."""

    grace_seconds: Seconds = 20.0
    """How long calls in flight may take to finish once new ones are refused."""

    log_format: Literal["console", "json"] = "console"
    """How log lines are written to standard error."""

    log_level: Level = "info"
    """The least that is logged; SIGUSR2 turns debug on and off, which logs every call."""

    access_log_sample: Share = 0.0
    """Share of calls that get a log line, 0-1."""

    slow_call_seconds: Seconds = 1.0
    """Calls that take so long get a log line, with where their time went; 0 logs none."""
