"""The `digit-trainer` command."""

import os
import sys

from cyclopts import App, CycloptsError

from trainer.commands import register
from trainer.commands.publish import promote, publish, rollback
from trainer.commands.quantize import quantize
from trainer.commands.recipes import explain, recipes
from trainer.commands.train import train
from trainer.errors import TrainerError

_FAILED = 1
_USAGE = 2
_INTERRUPTED = 130

app = App(
    name="digit-trainer",
    help="Train a network on labelled images of digits and publish it into a model repository.",
    version_flags=[],
)
for command in (train, recipes, explain, quantize, publish, promote, rollback):
    app.command(command)
register(app)


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 bad data, 2 usage, 3 a gate refused."""
    try:
        code = app(argv, exit_on_error=False, print_error=False, result_action="return_value")
        sys.stdout.flush()
    except CycloptsError as error:
        return _complain(" ".join(str(error).split()), _USAGE)
    except TrainerError as error:
        return _complain(str(error), error.exit_code)
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
