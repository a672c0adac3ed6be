import io
import re

from rich.console import Console

from trainer.progress import Progress
from trainer.run import Epoch

EPOCH = Epoch(1, 25, 0.5, 0.9, 0.4, 0.95, 1e-3, 2.0)


def shown(*, terminal: bool) -> str:
    stream = io.StringIO()
    progress = Progress(Console(file=stream, force_terminal=terminal, width=120, color_system=None))
    assert list(progress.steps(1, 25, 28)) == list(range(28))
    progress.epoch(EPOCH)
    with progress.stages(("export", "report")) as begin:
        begin("export")
        begin("report")
    return stream.getvalue()


def test_plain_lines_where_nobody_watches() -> None:
    (line,) = shown(terminal=False).splitlines()
    assert line.split() == [
        *("1/25", "loss", "0.5000", "accuracy", "90.00%"),
        *("val_loss", "0.4000", "val_accuracy", "95.00%", "2.0", "s"),
    ]


def test_bars_move_on_a_terminal_for_epochs_and_for_what_follows() -> None:
    text = shown(terminal=True)
    assert "28/28" in text
    assert re.search(r"report .* 1/2", text)
