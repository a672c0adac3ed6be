"""The `digit-trainer` command."""

import os
import sys

from cyclopts import App, CycloptsError

from trainer.errors import TrainerError

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130

# By name, with their first lines: a command's module is imported when it runs.
_COMMANDS = {
    "train": ("train", "Train, evaluate, export, verify and publish a network."),
    "recipes": ("recipes", "List the recipes that ship with the package."),
    "explain": ("recipes", "Print the layers of a recipe: Keras's summary, output sizes, receptive field."),
    "data": ("data", "Describe a data set: counts, class balance, checksum, samples."),
    "predict": ("evaluate", "Predict the digits of the images in a table."),
    "evaluate": ("evaluate", "Measure a model on the test images of a data set."),
    "report": ("evaluate", "Measure a run's model again and rebuild its report."),
    "compare": ("evaluate", "Decide with McNemar's test whether one model is better than another."),
    "quantize": ("evaluate", "Quantize a run's model to 8 bits, and keep that if it pays."),
    "publish": ("publish", "Add a finished run to a model repository as the next version."),
    "promote": ("publish", "Make a label point at a version."),
    "rollback": ("publish", "Make a label point where it pointed before."),
}


def _version() -> str:
    from importlib.metadata import version  # noqa: PLC0415 - only --version needs it

    return version("digit-serving")


app = App(
    name="digit-trainer",
    help="Train a network on labelled images of digits and publish it into a model repository.",
    help_epilogue="""Examples:
  digit-trainer train --data sample --repository repository
  digit-trainer evaluate repository/digits/1/model.onnx sample""",
    version=_version,
    help_format="plaintext",
)
for name, (module, summary) in _COMMANDS.items():
    app.command(f"trainer.commands.{module}:{name}", name=name, help=summary)


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
            raise  # a defect of ours
        return _complain(f"{error.name} is not installed: pip install '.[trainer]' brings it", _FAILED)
    except BrokenPipeError:
        # `| head` has seen enough. Python would complain once more when it flushes at exit.
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
