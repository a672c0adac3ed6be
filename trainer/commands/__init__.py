"""The commands of `digit-trainer` that look at data, models and runs; one module each."""

from cyclopts import App

from trainer.commands import data


def register(app: App) -> None:
    """Add these commands to the command line."""
    app.command(data.app)
