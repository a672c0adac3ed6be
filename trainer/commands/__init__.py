"""The commands of `digit-trainer` that look at data, models and runs; one module each."""

from cyclopts import App

from trainer.commands.compare import compare
from trainer.commands.data import app as data
from trainer.commands.evaluate import evaluate
from trainer.commands.predict import predict
from trainer.commands.report import report


def register(app: App) -> None:
    """Add these commands to the command line."""
    app.command(data)
    app.command(predict)
    app.command(evaluate)
    app.command(report)
    app.command(compare)
