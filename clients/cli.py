"""`digit-client`: what a person types."""

import os
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError

from clients.errors import DigitsError

# Modules that only some commands need, and the extra that brings them.
_EXTRAS = {"hdrh": "load", "starlette": "web", "uvicorn": "web"}

app = App(
    name="digit-client",
    help="Ask a digit server what the handwritten digits in your pictures are.",
    version=lambda: version("digit-serving"),
)
# Named by path: a command's module, and with it grpc and numpy, is imported when it runs.
app.command("clients.commands.predict:predict", name="predict", help="Predict the digits in pictures.")
app.command(
    "clients.commands.evaluate:evaluate", name="evaluate", help="Measure accuracy on labelled images."
)
app.command("clients.commands.status:health", name="health", help="Ask whether the server is ready.")
app.command("clients.commands.status:models", name="models", help="List the models that the server has.")
app.command("clients.commands.status:metadata", name="metadata", help="Tell all about one model.")
app.command("clients.commands.load:app", name="load", help="Put load on a server: how fast is it, honestly?")
app.command("clients.commands.web:web", name="web", help="Serve a page to draw digits on.")
app.register_install_completion_command()


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    The exit code is 0 (done), 1 (not done), 2 (wrong usage), 3 (a gate refused) or 130 (Ctrl-C).
    """
    # gRPC's C core writes its own account of a failed connection to stderr; ours is one line.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        code = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(_words(error), 2)
    except ImportError as error:
        extra = _EXTRAS.get(_missing(error))
        if extra is None:
            raise
        return _fail(f"this command needs more than is installed: pip install 'digit-serving[{extra}]'", 1)
    except DigitsError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        # `| head` has seen enough. Python would complain once more when it flushes at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code or 0


def _words(error: CycloptsError) -> str:
    try:
        return str(error)  # looks through all commands for one that may have been meant
    except ImportError:
        return "unknown command; --help lists those there are"


def _missing(error: BaseException | None) -> str:
    """Name the module whose absence is at the root of an error."""
    while error:
        if isinstance(error, ModuleNotFoundError) and error.name:
            return error.name.split(".")[0]
        error = error.__cause__
    return ""


def _fail(message: str, code: int) -> int:
    print(f"digit-client: {' '.join(message.split())}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
