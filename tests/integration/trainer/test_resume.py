import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from trainer.checkpoint import Checkpoint
from trainer.layers import Dropout
from trainer.observer import Observer
from trainer.stop import Stopped

from trainer.cli import main
from trainer.data.dataset import Split
from trainer.data.sample import load_sample
from trainer.errors import TrainerError
from trainer.fit import Course, Fitted, fit_network
from trainer.recipe import EarlyStopping, Recipe, load_recipe

EPOCHS = 3


@pytest.fixture(scope="module")
def split() -> Split:
    data = load_sample()
    return Split(data.x_train[:1000], data.y_train[:1000], data.x_test[:200], data.y_test[:200])


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Every source of randomness at once: shuffling, augmentation, averaged weights, dropout."""
    fast = load_recipe("fast")
    *layers, last = fast.layers
    return replace(fast, layers=(*layers, Dropout(0.2), last))


class StopAt(Observer):
    """Asks for a stop at one step of one epoch."""

    def __init__(self, epoch: int, step: int) -> None:
        self.stop = threading.Event()
        self._when = (epoch, step)

    def step(self, epoch: int, step: int, steps: int) -> None:
        del steps
        if (epoch, step) == self._when:
            self.stop.set()


def weights(fitted: Fitted) -> list[Any]:
    return [variable.numpy() for variable in fitted.network.variables]


def figures(fitted: Fitted) -> list[Any]:
    return [replace(epoch, duration_seconds=0) for epoch in fitted.history]


@pytest.fixture(scope="module")
def uninterrupted(recipe: Recipe, split: Split) -> Fitted:
    return fit_network(recipe, split, Course(EPOCHS, 7), Observer())


def test_same_seed_gives_the_same_weights(recipe: Recipe, split: Split, uninterrupted: Fitted) -> None:
    again = fit_network(recipe, split, Course(EPOCHS, 7), Observer())
    for one, other in zip(weights(again), weights(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("when", [(0, 3), (1, 0), (2, 5)])
def test_resumed_training_equals_the_uninterrupted_one(
    recipe: Recipe, split: Split, uninterrupted: Fitted, tmp_path: Path, when: tuple[int, int]
) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", "this one")
    observer = StopAt(*when)
    with pytest.raises(Stopped):
        fit_network(recipe, split, Course(EPOCHS, 7, checkpoint, observer.stop), observer)
    resumed = fit_network(recipe, split, Course(EPOCHS, 7, checkpoint), Observer())
    for one, other in zip(weights(resumed), weights(uninterrupted), strict=True):
        np.testing.assert_array_equal(one, other)
    assert figures(resumed) == figures(uninterrupted)


@pytest.fixture(scope="module")
def restoring(recipe: Recipe) -> Recipe:
    """Nothing improves by that much, so the first epoch stays the best; the training ends after three."""
    rule = EarlyStopping(patience=2, min_delta=100.0, restore_best_weights=True)
    return replace(recipe, fit=replace(recipe.fit, schedule="constant", early_stopping=rule))


def test_best_weights_are_restored(restoring: Recipe, split: Split) -> None:
    first = fit_network(restoring, split, Course(1, 7), Observer())
    restored = fit_network(restoring, split, Course(9, 7), Observer())
    assert len(restored.history) == 3
    for one, other in zip(weights(restored), weights(first), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("when", [(1, 0), (2, 5)])
def test_best_weights_survive_a_resume(
    restoring: Recipe, split: Split, tmp_path: Path, when: tuple[int, int]
) -> None:
    checkpoint = Checkpoint(tmp_path / "checkpoint.npz", "this one")
    observer = StopAt(*when)
    with pytest.raises(Stopped):
        fit_network(restoring, split, Course(9, 7, checkpoint, observer.stop), observer)
    resumed = fit_network(restoring, split, Course(9, 7, checkpoint), Observer())
    first = fit_network(restoring, split, Course(1, 7), Observer())
    for one, other in zip(weights(resumed), weights(first), strict=True):
        np.testing.assert_array_equal(one, other)


def test_checkpoint_of_another_training_is_refused(recipe: Recipe, split: Split, tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    fit_network(recipe, split, Course(1, 7, Checkpoint(path, "this one")), Observer())
    with pytest.raises(TrainerError, match="belongs to a training with another recipe, seed"):
        fit_network(recipe, split, Course(1, 7, Checkpoint(path, "another")), Observer())


def test_damaged_checkpoint_is_named(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(b"PK\3\4 not what it was")
    with pytest.raises(TrainerError, match=r"checkpoint\.npz: damaged checkpoint"):
        Checkpoint(path, "").load()


def test_training_that_diverges_says_so(recipe: Recipe, split: Split) -> None:
    wild = replace(recipe, fit=replace(recipe.fit, learning_rate=1e30, warmup_epochs=0.0))
    with pytest.raises(TrainerError, match="training diverged: loss nan in epoch 1"):
        fit_network(wild, split, Course(1, 7), Observer())


def train_command(folder: Path, *more: str) -> list[str]:
    words = [
        "train",
        "--recipe",
        "fast",
        "--data",
        "sample",
        "--epochs",
        "4",
        "--run-dir",
        str(folder / "run"),
    ]
    return [*words, "--repository", str(folder / "repository"), *more]


def test_sigterm_saves_the_state_and_resume_publishes_once(tmp_path: Path) -> None:
    code = "import sys; from trainer.cli import main; sys.exit(main(sys.argv[1:]))"
    process = subprocess.Popen(
        [sys.executable, "-c", code, *train_command(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
    )
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("  2/4"):  # two epochs are done, the third is under way
            process.send_signal(signal.SIGTERM)
            break
    _, error = process.communicate()
    assert process.returncode == 143
    assert "digit-trainer: stopped in epoch 3 after" in error
    assert "Traceback" not in error
    assert not (tmp_path / "repository").exists()

    assert main(train_command(tmp_path, "--resume")) == 0
    assert main(train_command(tmp_path, "--resume")) == 0
    versions = [entry.name for entry in (tmp_path / "repository" / "fast").iterdir() if entry.is_dir()]
    assert versions == ["1"]


def test_finished_run_is_not_resumed_as_another(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["train", "--recipe", "fast", "--data", "sample", "--run-dir", str(tmp_path), "--resume"]
    assert main([*words, "--epochs", "1"]) == 0
    assert main([*words, "--epochs", "2"]) == 1
    assert "holds a finished run with another recipe" in capsys.readouterr().err
