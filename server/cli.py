"""`digit-server`."""

import signal
import sys

from cyclopts import App, CycloptsError
from cyclopts.config import Env

from server.settings import Settings
from server.signals import hold

app = App(
    name="digit-server",
    help="Serve handwritten-digit predictions over gRPC, with Prometheus metrics on a port of their own.",
    config=Env("DIGITS_", command=False),
)


@app.default
def serve(settings: Settings = Settings()) -> int:  # noqa: B008 - frozen, and how the CLI library flattens a class
    """Serve the newest version that verifies of each model in a repository."""
    hold()  # before the imports below start threads
    # Imported here so that --help does not wait for ONNX Runtime.
    import uvloop  # noqa: PLC0415

    from server import cpus  # noqa: PLC0415
    from server.errors import StartError  # noqa: PLC0415
    from server.log import configure  # noqa: PLC0415
    from server.news import News  # noqa: PLC0415
    from server.ports import warn_of_plaintext  # noqa: PLC0415
    from server.serve import serve as run  # noqa: PLC0415
    from server.supervisor import supervise  # noqa: PLC0415

    news = News()
    configure(settings.log_format, settings.log_level, news.add)
    warn_of_plaintext(settings)
    try:
        workers = cpus.available() if settings.workers == "auto" else settings.workers
        uvloop.run(run(settings, news) if workers == 1 else supervise(settings, workers, news))
    except StartError as error:
        print(f"digit-server: {error}", file=sys.stderr)
        return 1
    return 0


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit code: 0 after a clean stop, 1 cannot start, 2 wrong usage."""
    # Until somebody listens to it, and in the workers to come: a look at the repository that comes too early
    # must not end the process. The start looks anyway.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        code: int = app(argv, exit_on_error=False, print_error=False, result_action="return_value") or 0
    except CycloptsError as error:
        print(f"digit-server: {error}", file=sys.stderr)
        return 2
    return code


if __name__ == "__main__":
    sys.exit(main())
