"""Progress: bars on a terminal, lines elsewhere."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bars

from trainer.run import Epoch

_COLUMNS = (TextColumn("{task.description}"), BarColumn(24), MofNCompleteColumn(), TimeRemainingColumn())


class Progress:
    """Writes the progress of a training to standard output."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(highlight=False, soft_wrap=True)

    def say(self, line: str) -> None:
        """Write a line."""
        self._console.print(line, markup=False)

    def steps(self, epoch: int, epochs: int, steps: int) -> Iterator[int]:
        """Yield the steps of an epoch, with a bar."""
        with self._bars() as bars:
            yield from bars.track(range(steps), description=f"{epoch:3d}/{epochs:<3d}")

    def epoch(self, epoch: Epoch) -> None:
        """Write the metrics of an epoch."""
        self.say(
            f"{epoch.epoch:3d}/{epoch.epochs:<3d}  loss {epoch.loss:.4f}  accuracy {epoch.accuracy:7.2%}  "
            f"val_loss {epoch.val_loss:.4f}  val_accuracy {epoch.val_accuracy:7.2%}  "
            f"{epoch.duration_seconds:6.1f} s"
        )

    @contextmanager
    def stages(self, names: tuple[str, ...]) -> Iterator[Callable[[str], None]]:
        """Show a bar of stages; yield a function to call with the name of each at its start."""
        with self._bars() as bars:
            task = bars.add_task(names[0], total=len(names))
            yield lambda name: bars.update(task, description=name, completed=names.index(name))

    def _bars(self) -> Bars:
        # Without a terminal, each update would be a line.
        return Bars(*_COLUMNS, console=self._console, transient=True, disable=not self._console.is_terminal)
