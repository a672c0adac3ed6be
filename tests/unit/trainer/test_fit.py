"""Fits of 500 images: reproducible, resumable, stoppable; each setting has an effect."""

import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from trainer.backend import create_loss, create_optimizer
from trainer.data.dataset import Dataset, Split, load_data
from trainer.data.outliers import draw_outliers
from trainer.errors import RecipeError, Stopped, TrainerError
from trainer.fit import FitResult, create_state, fit
from trainer.progress import Progress
from trainer.recipe import Augment, Outliers, Recipe, load_recipe
from trainer.run import Epoch

EPOCHS = 3


@pytest.fixture(scope="module", autouse=True)
def fewer_outliers() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("trainer.data.outliers.COUNT", 600)
        yield


@pytest.fixture(scope="module")
def split() -> Split:
    data: Dataset = load_data("sample")
    return Split(data.x_train[:500], data.y_train[:500], data.x_test[:200], data.y_test[:200])


@pytest.fixture(scope="module")
def recipe() -> Recipe:
    """Every source of randomness at once: shuffling, augmentation and its end, outliers, EMA, dropout."""
    fast = load_recipe("fast")
    *layers, last = fast.layers
    dropout = {"class": "Dropout", "rate": 0.2}
    fitting = replace(fast.fit, precision="float32", outliers=Outliers(per_batch=8, weight=0.1))
    milder = Augment(shift_pixels=4, noise_chance=0.5, late_share=0.3, late_strength=0.1)
    return replace(fast, layers=[*layers, dropout, last], fit=fitting, augment=milder)


@pytest.fixture(scope="module")
def plain(recipe: Recipe) -> Recipe:
    """The same without augmentation and outliers, which TensorFlow compiles in a third of the time."""
    return replace(recipe, fit=replace(recipe.fit, outliers=None), augment=Augment())


class Quiet(Progress):
    """Shows nothing; sets `stop` at a step of an epoch."""

    def __init__(self, stop: threading.Event | None = None, at: tuple[int, int] = (0, 0)) -> None:
        self._stop, self._at = stop, at

    def steps(self, epoch: int, epochs: int, steps: int) -> Iterator[int]:
        del epochs
        for step in range(steps):
            if self._stop is not None and (epoch, step) == self._at:
                self._stop.set()
            yield step

    def epoch(self, epoch: Epoch) -> None:
        del epoch


def run(
    recipe: Recipe, split: Split, epochs: int = EPOCHS, progress: Progress | None = None, **more: Any
) -> FitResult:
    progress = progress or Quiet()
    return fit(recipe, split, epochs=epochs, seed=7, policy="float32", progress=progress, **more)


def same_weights(one: FitResult, other: FitResult) -> bool:
    pairs = zip(one.network.get_weights(), other.network.get_weights(), strict=True)
    return all(np.array_equal(first, second) for first, second in pairs)


def figures(result: FitResult) -> list[tuple[float, ...]]:
    return [(e.loss, e.accuracy, e.val_loss, e.val_accuracy, e.learning_rate) for e in result.history]


@pytest.fixture(scope="module")
def uninterrupted(recipe: Recipe, split: Split) -> FitResult:
    return run(recipe, split)


def test_resumed_training_equals_the_uninterrupted_one(
    recipe: Recipe, split: Split, uninterrupted: FitResult, tmp_path: Path
) -> None:
    checkpoint, stop = tmp_path / "checkpoint.npz", threading.Event()
    with pytest.raises(Stopped, match="stopped in epoch 3"):
        run(recipe, split, progress=Quiet(stop, (3, 1)), checkpoint=checkpoint, stop=stop)
    resumed = run(recipe, split, checkpoint=checkpoint)
    assert same_weights(resumed, uninterrupted)
    assert figures(resumed) == figures(uninterrupted)


@pytest.fixture(scope="module")
def restoring(plain: Recipe) -> Recipe:
    """Nothing improves by that much, so the first epoch stays the best; training ends after three."""
    optimizer = {"class": "Adam", "learning_rate": 1e-3}
    stopping = {"patience": 2, "min_delta": 100.0, "restore_best_weights": True}
    plateau = {"patience": 1, "factor": 0.5, "min_delta": 100.0}
    fitting = replace(plain.fit, optimizer=optimizer, early_stopping=stopping, reduce_lr_on_plateau=plateau)
    return replace(plain, fit=fitting)


def test_early_stopping_restores_the_best_epoch_resumed_or_not(
    restoring: Recipe, split: Split, tmp_path: Path
) -> None:
    first = run(restoring, split, epochs=1)
    restored = run(restoring, split, epochs=9)
    assert (len(restored.history), restored.exported_epoch) == (3, 0)
    assert same_weights(first, restored)
    assert [epoch.learning_rate for epoch in restored.history] == pytest.approx([1e-3, 1e-3, 5e-4])

    checkpoint, stop = tmp_path / "checkpoint.npz", threading.Event()
    with pytest.raises(Stopped):
        run(restoring, split, epochs=9, progress=Quiet(stop, (3, 0)), checkpoint=checkpoint, stop=stop)
    resumed = run(restoring, split, epochs=9, checkpoint=checkpoint)
    assert same_weights(resumed, restored)
    assert figures(resumed) == figures(restored)


def test_last_epochs_have_the_milder_augmentation(
    recipe: Recipe, split: Split, uninterrupted: FitResult
) -> None:
    throughout = replace(recipe.augment, late_share=0.0, late_strength=1.0)
    constant = run(replace(recipe, augment=throughout), split)
    assert figures(constant)[:2] == figures(uninterrupted)[:2]
    assert constant.history[2].loss > uninterrupted.history[2].loss


@pytest.mark.slow
def test_exposure_to_outliers_lowers_the_confidence_in_them(plain: Recipe, split: Split) -> None:
    outliers = draw_outliers(split.x_validation)[:300].astype(np.float32)

    def confidence(settings: Outliers | None) -> float:
        fitting = replace(plain.fit, outliers=settings)
        network = run(replace(plain, fit=fitting), split, epochs=6).network
        return float(network(outliers, training=False).numpy().max(axis=1).mean())

    assert confidence(Outliers(per_batch=32, weight=1.0)) < confidence(None) - 0.1


def test_loss_is_the_recipes_own_and_has_a_layers_regularizer_only_in_training(
    plain: Recipe, split: Split
) -> None:
    layers = [*plain.layers[:-1], plain.layers[-1] | {"kernel_regularizer": {"class": "L2", "l2": 1.0}}]
    fitting = replace(plain.fit, loss="mean_squared_error")
    result = run(replace(plain, layers=layers, fit=fitting), split, epochs=1)
    images = split.x_validation.astype(np.float32)
    error = (result.network(images, training=False).numpy() - np.eye(10)[split.y_validation]) ** 2
    assert result.history[0].val_loss == pytest.approx(error.mean(), rel=1e-4)
    assert result.history[0].loss > 1  # five times what squared errors of probabilities can be


def test_training_that_diverges_is_an_error(plain: Recipe, split: Split) -> None:
    fitting = replace(plain.fit, optimizer={"class": "SGD", "learning_rate": 1e30})
    with pytest.raises(TrainerError, match=r"training diverged: loss .* in epoch 1"):
        run(replace(plain, fit=fitting), split)


def test_schedule_in_epochs_ends_with_the_training(recipe: Recipe) -> None:
    optimizer = create_optimizer(recipe, steps_per_epoch=10, epochs=5)
    schedule = optimizer.get_config()["learning_rate"]["config"]
    assert (schedule["warmup_steps"], schedule["decay_steps"]) == (10, 40)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"optimizer": "Adamm"}, "fit.optimizer.class: keras.optimizers has no 'Adamm'; did you mean Adam"),
        (
            {"optimizer": {"class": "SGD", "momentun": 1}},
            "fit.optimizer.momentun: unknown argument of SGD; available",
        ),
        (
            {"optimizer": {"class": "SGD", "learning_rate": {"class": "CosineDecay", "warmup_epoch": 1}}},
            "fit.optimizer.learning_rate.warmup_epoch: unknown argument of CosineDecay",
        ),
        (
            {"loss": "crossentropy"},
            "fit.loss: Could not interpret loss identifier: crossentropy; available: ",
        ),
        ({"loss": {"class": "Huber", "delt": 1}}, "fit.loss.delt: unknown argument of Huber"),
        (
            {"early_stopping": {"patients": 3}},
            "fit.early_stopping.patients: unknown argument of EarlyStopping",
        ),
        (
            {"early_stopping": {"monitor": "val_auc"}},
            "fit.early_stopping.monitor: 'val_auc', expected one of loss",
        ),
        ({"reduce_lr_on_plateau": {"factor": 0.5}}, "fit.reduce_lr_on_plateau: cannot change a schedule"),
    ],
)
def test_mistake_names_table_and_key(plain: Recipe, change: dict[str, Any], message: str) -> None:
    mistaken = replace(plain, fit=replace(plain.fit, **change))
    state = partial(create_state, policy="float32", seed=7, steps_per_epoch=10, epochs=EPOCHS)
    check = create_loss if "loss" in change else state
    with pytest.raises(RecipeError) as refused:
        check(mistaken)
    assert str(refused.value).startswith(f"fast: {message}")


@pytest.mark.parametrize(
    "loss", ["sparse_categorical_crossentropy", {"class": "SparseCategoricalCrossentropy"}]
)
def test_sparse_losses_take_digits(recipe: Recipe, loss: Any) -> None:
    digits, probabilities = np.array([1, 2]), np.full((2, 10), 0.1, np.float32)
    found = create_loss(replace(recipe, fit=replace(recipe.fit, loss=loss)))(digits, probabilities)
    assert float(found) == pytest.approx(np.log(10), rel=1e-4)
