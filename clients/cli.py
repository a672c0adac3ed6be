"""The `digit-client` command."""

import os
import re
import sys

from cyclopts import App, CycloptsError, Parameter

from clients.errors import DigitsError

# Optional modules and the extras that install them.
_EXTRAS = {"matplotlib": "plot", "pyarrow": "parquet"}


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - 50 ms that only --version needs

    return version("digit-serving")


app = App(
    name="digit-client",
    help="Read handwritten digits with a digit server.",
    help_epilogue="""Examples:
  digit-client predict seven.png photo.jpg
  digit-client status --server digits.example:8500""",
    version=_version,
    help_format="plaintext",
    # No --no-flag forms, and no empty defaults in the help.
    default_parameter=Parameter(negative=(), show_default=lambda value: value or None),
)
# By path: a command's module, and with it grpc and numpy, is imported when the command runs.
_COMMANDS = {
    "predict": (
        "clients.commands.predict:predict",
        """Predict the digits in pictures.

FILES are pictures (PNG, JPEG, WebP, BMP, TIFF, ...), folders of them, patterns, - for a picture on stdin,
and files of many 28x28 images: IDX, NPY, NPZ, CSV, TSV, Parquet. Unreadable files are reported at the
end, the rest is answered, and the exit code is 1. Put -- before a file whose name starts with a hyphen.

Examples:
  digit-client predict seven.png --explain
  digit-client predict scans/ --several --output json""",
    ),
    "evaluate": (
        "clients.commands.evaluate:evaluate",
        """Measure accuracy on labelled images.

DATA is a folder with MNIST's test files, a file of images and labels (NPZ, CSV, TSV, Parquet), or a file of
images with LABELS beside it. Prints the accuracy, the confusion matrix and the throughput.

Examples:
  digit-client evaluate mnist.npz
  digit-client evaluate t10k-images-idx3-ubyte.gz t10k-labels-idx1-ubyte.gz --min-accuracy 0.99""",
    ),
    "status": (
        "clients.commands.status:status",
        """Show the health, models and traffic of a server.

Examples:
  digit-client status
  digit-client status --server digits.example:8500 --output json""",
    ),
    "models": (
        "clients.commands.status:models",
        """List the server's models and versions.

Examples:
  digit-client models
  digit-client models --output tsv""",
    ),
    "metadata": (
        "clients.commands.status:metadata",
        """Show all about the version of a model that serves.

Examples:
  digit-client metadata
  digit-client metadata fast""",
    ),
    "health": (
        "clients.commands.status:health",
        """Check whether the server is ready.

SERVICE is a gRPC service or a model; the exit code is 1 if it is not ready.

Examples:
  digit-client health --wait 30
  digit-client health digits --watch""",
    ),
    "load": (
        "clients.commands.load:app",
        "Measure latency and throughput under load.",  # an App, which has its examples
    ),
    "web": (
        "clients.web.draw:web",
        """Serve a page to draw digits and numbers on, until Ctrl-C.

Examples:
  digit-client web --open
  digit-client web --host 0.0.0.0 --port 8080""",
    ),
    "label": (
        "clients.web.label:label",
        """Serve a page to label captured images on, until Ctrl-C.

FOLDER is the --capture-dir of a digit-server. A label moves an image to FOLDER/0 ... FOLDER/9, or to
FOLDER/none where it shows no digit; `digit-trainer train --extra FOLDER` trains with them.

Examples:
  digit-client label captured --open
  digit-client label captured --host 0.0.0.0 --port 8081""",
    ),
    "shadow": (
        "clients.commands.shadow:shadow",
        """Show how often a candidate gives the digit of the version that answers.

MODEL is one model; all of them if not given. See docs/improve.md.

Examples:
  digit-client shadow
  digit-client shadow digits --metrics http://digits.example:9090/metrics --output json""",
    ),
}
for _place, (_name, (_path, _text)) in enumerate(_COMMANDS.items()):
    _about, _, _examples = _text.partition("\n\nExamples:")
    # Joins the lines of a paragraph; the terminal wraps them.
    _about = re.sub(r"(?<!\n)\n(?=\w)", " ", _about)
    _more = {"help_epilogue": f"Examples:{_examples}"} if _examples else {}
    app.command(_path, name=_name, help=_about, sort_key=_place, **_more)
app.register_install_completion_command()


def main(argv: list[str] | None = None) -> int:
    """Run the command line.

    The exit code is 0 (done), 1 (not done), 2 (wrong usage), 3 (accuracy below the minimum) or 130 (Ctrl-C).
    """
    # gRPC's C core would write several lines about a failed connection to stderr.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    try:
        code = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _fail(str(error), 2)
    except ImportError as error:
        missing = _missing(error)
        extra = _EXTRAS.get(missing)
        if extra is None:
            raise
        return _fail(f"{missing} is not installed; in the repository: pip install '.[{extra}]'", 1)
    except DigitsError as error:
        return _fail(str(error), 1)
    except BrokenPipeError:
        # The reader (`| head`) has closed the pipe; without this, Python's flush at exit would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        return 130
    return code or 0


def _missing(error: BaseException | None) -> str:
    """Return the name of the missing module that caused an error."""
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
