import numpy as np
import pytest

from trainer.data.dataset import Dataset
from trainer.data.sample import load_sample
from trainer.evaluation.corruption import CORRUPTIONS, Level, corrupt
from trainer.evaluation.robustness import MAX_IMAGES, measure_robustness

LEVELS = {(corruption.name, level.key): level for corruption in CORRUPTIONS for level in corruption.levels}


@pytest.fixture(scope="module")
def sample() -> Dataset:
    return load_sample()


def centre(image: np.ndarray) -> np.ndarray:
    grid = np.mgrid[:28, :28].reshape(2, -1)
    return grid @ image.astype(float) / image.sum()


def spread(image: np.ndarray) -> float:
    grid = np.mgrid[:28, :28].reshape(2, -1) - centre(image)[:, None]
    return float(np.sqrt((grid**2).sum(axis=0) @ image.astype(float) / image.sum()))


@pytest.mark.parametrize("level", LEVELS.values(), ids=["-".join(key) for key in LEVELS])
def test_every_level_changes_images_the_same_way_each_time(level: Level, sample: Dataset) -> None:
    images = sample.x_test[::50]
    damaged = corrupt(images, level, seed=1)
    assert damaged.dtype == np.uint8
    assert damaged.shape == images.shape
    assert (damaged != images).any(axis=1).all()
    np.testing.assert_array_equal(damaged, corrupt(images, level, seed=1))


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_shift_moves_the_digit_by_its_distance(distance: int) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[10:18, 10:18] = 200
    moved = corrupt(np.tile(image.reshape(1, -1), (20, 1)), LEVELS["shift", f"{distance}_pixels"], seed=2)
    lengths = [np.linalg.norm(centre(m) - centre(image.reshape(-1))) for m in moved]
    assert max(lengths) == pytest.approx(distance, abs=0.6)
    assert min(lengths) >= distance - 0.6  # whole pixels, also along a diagonal


def test_scale_changes_the_size_by_its_factor(sample: Dataset) -> None:
    image = sample.x_test[:1]
    for (name, key), factor in {("shrink", "70_percent"): 0.7, ("enlarge", "120_percent"): 1.2}.items():
        assert spread(corrupt(image, LEVELS[name, key], 1)[0]) == pytest.approx(
            factor * spread(image[0]), rel=0.05
        )


def test_strokes_lose_and_gain_ink(sample: Dataset) -> None:
    ink = sample.x_test.mean()
    assert corrupt(sample.x_test, LEVELS["thin", "100_percent"], 1).mean() < 0.75 * ink
    assert corrupt(sample.x_test, LEVELS["thick", "3_pixels"], 1).mean() > 1.5 * ink


def test_inverting_twice_is_nothing(sample: Dataset) -> None:
    level = LEVELS["inverted", "full"]
    np.testing.assert_array_equal(corrupt(corrupt(sample.x_test, level, 1), level, 1), sample.x_test)


def test_faint_ink_on_grey_paper_stays_within_what_was_there(sample: Dataset) -> None:
    assert corrupt(sample.x_test, LEVELS["faint", "40_percent"], 1).max() == 102
    grey = corrupt(sample.x_test, LEVELS["grey", "60_percent"], 1)
    assert (grey.min(), grey.max()) == (153, 255)


def test_robustness_is_accuracy_on_the_damaged_images(sample: Dataset) -> None:
    seen: list[np.ndarray] = []

    def predict(images: np.ndarray) -> np.ndarray:
        seen.append(images)
        return np.eye(10, dtype=np.float32)[np.full(len(images), 3)]

    result = measure_robustness(predict, sample.x_test, sample.y_test)
    assert [result.clean_accuracy, result.mean_accuracy, result.worst.accuracy] == pytest.approx([0.1] * 3)
    assert len(result.resistances) == len(LEVELS) == len(seen) - 1
    assert result.images == 1000


def test_large_test_sets_are_sampled_evenly() -> None:
    digits = np.arange(10_000) // 1000
    images = np.zeros((10_000, 784), np.uint8)
    counts: list[int] = []

    def predict(of: np.ndarray) -> np.ndarray:
        counts.append(len(of))
        return np.eye(10, dtype=np.float32)[np.zeros(len(of), int)]

    result = measure_robustness(predict, images, digits)
    assert set(counts) == {MAX_IMAGES}
    assert result.clean_accuracy == pytest.approx(0.1, abs=0.001)
