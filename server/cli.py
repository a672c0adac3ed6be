"""`digit-server`."""

import logging
import os
import sys
from collections import deque
from contextlib import suppress
from importlib.metadata import version

from cyclopts import App, CycloptsError
from cyclopts.config import Env

try:
    import structlog
except ModuleNotFoundError:
    sys.exit("digit-server: structlog is not installed; in the repository: pip install '.[server]'")

from server.process.signals import block
from server.settings import Settings

app = App(
    name="digit-server",
    help="Serve handwritten-digit predictions over gRPC, with Prometheus metrics on a port of their own.",
    version=version("digit-serving"),
    config=Env("DIGITS_", command=False),
    help_format="markdown",
    help_epilogue="""Examples:

    digit-server
    digit-server --model-repository /models --host 0.0.0.0 --workers auto
    DIGITS_GRPC_PORT=9500 digit-server --provider cuda --max-batch-images 1024""",
)
app.register_install_completion_command()


@app.default
def serve(settings: Settings = Settings()) -> int:  # noqa: B008 - frozen, and how the CLI library flattens a class
    """Serve the models of a repository over gRPC."""
    block()  # before imports start threads
    # Imported here, so that --help does not import ONNX Runtime.
    from server import machine  # noqa: PLC0415
    from server.errors import StartError  # noqa: PLC0415
    from server.observability.logs import KEPT, RecentEvents, configure  # noqa: PLC0415
    from server.process.listeners import warn_of_plaintext  # noqa: PLC0415
    from server.versions.policy import parse_policies  # noqa: PLC0415

    events: RecentEvents = deque(maxlen=KEPT)
    configure(settings.log_format, settings.log_level, events.append)
    try:
        settings.check()
        parse_policies(settings.version_policy)
        warn_of_plaintext(settings)
        workers = machine.cpus() if settings.workers == "auto" else settings.workers
        if workers == 1:
            from server.process.app import serve as run  # noqa: PLC0415

            run(settings, events)
        else:
            from server.process.supervisor import Supervisor  # noqa: PLC0415

            Supervisor(settings, workers, events).run()
    except StartError as error:
        print(f"digit-server: {error}", file=sys.stderr)
        return 1
    except Exception:  # noqa: BLE001 - logged as any event, with its traceback
        structlog.get_logger().exception("digit-server failed")
        return 1
    return 0


def open_standard_streams() -> None:
    """Open closed standard streams, whose numbers other files would take."""
    for number, mode in enumerate((os.O_RDONLY, os.O_WRONLY, os.O_WRONLY)):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, mode)
    sys.stdout = sys.stdout or open(1, "w", closefd=False)  # noqa: SIM115 - for the life of the process
    sys.stderr = sys.stderr or open(2, "w", closefd=False)  # noqa: SIM115 - likewise


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0 after a clean stop, 1 cannot start, 2 wrong usage."""
    open_standard_streams()
    try:
        code: int = app(argv, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        print(f"digit-server: {error}", file=sys.stderr)
        return 2
    return code


def run() -> None:
    """Run the command line, and end the process without waiting for threads that run a model."""
    code = main()
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError):
            stream.flush()
    os._exit(code)


if __name__ == "__main__":
    run()
