"""The commands of `digit-trainer` that look at data, models and runs; one module each."""

from cyclopts import App

from trainer.commands import compare, data, evaluate, predict, report


def register(app: App) -> None:
    """Add these commands to the command line."""
    app.command(data.app)
    app.command(predict.predict)
    app.command(evaluate.evaluate)
    app.command(report.report)
    app.command(compare.compare)
