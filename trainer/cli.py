"""The `digit-trainer` command."""

import os
import re
import sys

from cyclopts import App, CycloptsError, Parameter

from trainer.errors import TrainerError

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130

# Module (and function, if it has another name), help, two examples. A module is imported when it runs.
_COMMANDS: dict[str, tuple[str, str, tuple[str, str]]] = {
    "train": (
        "train",
        """Train, evaluate, export, verify and publish a network.

SIGTERM exits 143 and keeps the last finished epoch; the same command with --resume continues after it.""",
        ("--data sample --repository repository", "--recipe fast --data mnist --run-dir runs/fast --resume"),
    ),
    "recipes": (
        "describe",
        "List the recipes that ship with the package.",
        ("", "| grep fast"),
    ),
    "explain": (
        "describe",
        "Print the layers of a recipe: Keras's summary, output sizes, receptive field, multiply-adds.",
        ("digits", "tutorial --to-json tutorial.json"),
    ),
    "data": (
        "describe",
        "Describe a data set: counts, class balance, checksum, samples.",
        ("sample --picture samples.png", "X_train.tsv,y_train.tsv,X_test.tsv,y_test.tsv"),
    ),
    "predict": (
        "evaluate",
        "Predict the digits of the images in a table.",
        ("repository/digits/1 X_test.tsv -o predictions.tsv", "runs/digits images.csv --proba"),
    ),
    "evaluate": (
        "evaluate",
        "Measure a model on the test images of a data set.",
        ("repository/digits/1 sample", "model.keras X_test.tsv,y_test.tsv --output json"),
    ),
    "report": (
        "evaluate",
        "Measure a run's model again and rebuild its report.",
        ("runs/digits", "runs/digits --stable repository/digits/3"),
    ),
    "compare": (
        "evaluate",
        """Decide with McNemar's test whether one model is better than another.

Both must have been tested on the same images; only those that one got right and the other wrong count.""",
        ("runs/a runs/b", "repository/digits/1 repository/digits/2"),
    ),
    "quantize": (
        "quantize",
        """Quantize a run's model to 8 bits, and keep that if it pays.

It pays when it is 1.3 times as fast on this CPU, predicts the same digit for 99.9 % of the validation images
and loses at most 0.05 points of accuracy on them. With fewer than 2,000 validation images one image is more
than that: one is then allowed, and the output says so. `publish` takes the 8-bit model along.""",
        ("runs/digits", "runs/digits --data path/to/mnist"),
    ),
    "publish": (
        "publish",
        """Add a finished run to a model repository as the next version; exit 3 if a gate refuses it.

A run that is a version already is left as it is, with its labels.""",
        (
            "runs/digits --repository repository --label stable",
            "runs/digits --repository repository --label canary --share 0.05 --no-worse-than-stable",
        ),
    ),
    "import": (
        "publish:import_model",
        """Publish an ONNX model that another program exported.

Layout, scaling and output are found by trial on labelled images; the model is wrapped, measured and
reported, and passes the gates of publish, or exit 3.""",
        (
            "model.onnx --data mnist --repository repository",
            "model.onnx --data sample --repository repository --model theirs --label canary --shadow 0.2",
        ),
    ),
    "promote": (
        "publish",
        "Make a label point at a version: stable at the one labelled canary, if nothing else is said.",
        ("--repository repository", "--repository repository --version 4 --label canary --share 0.05"),
    ),
    "rollback": (
        "publish",
        "Make a label point where it pointed before it was last moved.",
        ("--repository repository", "--repository repository --model fast --label canary"),
    ),
}


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only --version needs it

    return version("digit-serving")


app = App(
    name="digit-trainer",
    help="Train a network on labelled images of digits and publish it into a model repository.",
    help_epilogue="""Examples:
  digit-trainer train --data sample --repository repository
  digit-trainer evaluate repository/digits/1 sample""",
    version=_version,
    help_format="plaintext",
    default_parameter=Parameter(negative=(), show_default=lambda value: value or None),
)
for _place, (_name, (_module, _help, _examples)) in enumerate(_COMMANDS.items()):
    _function = _module if ":" in _module else f"{_module}:{_name}"
    app.command(
        f"trainer.commands.{_function}",
        name=_name,
        help=re.sub(r"(?<!\n)\n(?=\w)", " ", _help),  # joins lines; the terminal wraps them
        help_epilogue="\n".join(
            ["Examples:", *(f"  digit-trainer {_name} {each}".rstrip() for each in _examples)]
        ),
        sort_key=_place,
    )
app.register_install_completion_command()


def main(argv: list[str] | None = None) -> int:  # noqa: PLR0911 - one line for each way to end
    """Run the command line; return the exit code: 0 done, 1 bad data, 2 usage, 3 a gate refused."""
    try:
        code = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _complain(" ".join(str(error).split()), _USAGE)
    except TrainerError as error:
        return _complain(str(error), error.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"trainer", "clients"}:
            raise  # a defect
        return _complain(
            f"{error.name} is not installed; in the repository: pip install '.[trainer]'", _FAILED
        )
    except BrokenPipeError:
        # The reader (`| head`) has closed the pipe; without this, Python's flush at exit would fail too.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        return _complain(f"{error.filename or 'system'}: {error.strerror or error}", _FAILED)
    except KeyboardInterrupt:
        return _INTERRUPTED
    return int(code or 0)


def _complain(message: str, code: int) -> int:
    print(f"digit-trainer: {message}", file=sys.stderr)
    return code


if __name__ == "__main__":
    sys.exit(main())
