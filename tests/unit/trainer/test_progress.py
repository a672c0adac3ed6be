import io

from trainer.data.dataset import Dataset, Split
from trainer.data.sample import load_sample
from trainer.observer import Epoch
from trainer.progress import Progress
from trainer.recipe import load_recipe

EPOCH = Epoch(1, 25, 0.5, 0.9, 0.4, 0.95, 1e-3, 2.0)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(stream: io.StringIO) -> str:
    data: Dataset = load_sample()
    progress = Progress(load_recipe("digits"), stream)
    progress.loaded(data, Split(data.x_train, data.y_train, data.x_test, data.y_test), 25)
    progress.step(0, 14, 28)
    progress.epoch(EPOCH)
    return stream.getvalue()


def test_plain_lines_where_nobody_watches() -> None:
    text = shown(io.StringIO())
    assert "\r" not in text
    assert "30,634 parameters" in text
    assert "4,000 images to train on, 1,000 to validate, 1,000 held out" in text
    assert text.splitlines()[-1].split() == ["1/25", "0.5000", "90.00%", "95.00%", "2.0"]


def test_bar_moves_on_a_terminal_and_is_written_over() -> None:
    bar, line = shown(Terminal()).split("\r")[1:]
    assert bar == "    1  [============            ] 14/28"
    assert line.startswith("\033[K  1/25")
