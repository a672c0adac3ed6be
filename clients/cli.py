"""`digit-client`: what a person types."""

import os
import sys
from importlib.metadata import version

from cyclopts import App, CycloptsError, Parameter

from clients.errors import DigitsError

# Modules that only some commands need, and the extra that brings them.
_EXTRAS = {"hdrh": "load", "starlette": "web", "uvicorn": "web"}

app = App(
    name="digit-client",
    help="Ask a digit server what the handwritten digits in your pictures are.",
    version=lambda: version("digit-serving"),
    # A flag is given or not; --no-flag and defaults that say nothing only fill the help.
    default_parameter=Parameter(negative=(), show_default=lambda value: value or None),
)
# Named by path: a command's module, and with it grpc and numpy, is imported when it runs. So the help is here.
_COMMANDS = {
    "predict": (
        "clients.commands.predict:predict",
        """Predict the digits in pictures.

        Takes pictures (PNG, JPEG, WebP, BMP, TIFF, ...), folders of them, patterns, - for a picture on stdin, and
        files of many 28x28 images: IDX, .npy, .npz, and tables of 784 columns (.tsv, .csv, .tabular). What cannot
        be read is reported at the end, the rest is answered, and the exit code is 1.""",
    ),
    "evaluate": (
        "clients.commands.evaluate:evaluate",
        """Measure accuracy on labelled images.

        DATA is a folder with MNIST's test files, a .npz of images and labels, or images (IDX, .npy, table) with
        LABELS beside them. Tells how many digits are right, which are confused, and how many images a second.""",
    ),
    "models": ("clients.commands.status:models", "List the models that the server has."),
    "metadata": ("clients.commands.status:metadata", "Tell all about one model."),
    "health": (
        "clients.commands.status:health",
        """Ask whether the server is ready.

        SERVICE is a service or a model of it; the exit code is 1 where it is not ready.""",
    ),
    "load": ("clients.commands.load:app", "Put load on a server: how fast is it, honestly?"),
    "web": ("clients.commands.web:web", "Serve a page to draw digits on, until Ctrl-C."),
}
for _place, (_name, (_path, _help)) in enumerate(_COMMANDS.items()):
    app.command(_path, name=_name, help=_help, sort_key=_place)
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
        return _fail(str(error), 2)
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
