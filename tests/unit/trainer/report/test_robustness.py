import numpy as np
import pytest

from trainer.data.dataset import Dataset
from trainer.report.robustness import (
    CORRUPTIONS,
    MAX_IMAGES,
    Corruption,
    measure_out_of_distribution,
    measure_robustness,
    out_of_distribution,
)

BY_KEY = {each.metric.removeprefix("robustness_").removesuffix("_accuracy"): each for each in CORRUPTIONS}


def centre(image: np.ndarray) -> np.ndarray:
    return np.mgrid[:28, :28].reshape(2, -1) @ image.astype(float) / image.sum()


def spread(image: np.ndarray) -> float:
    grid = np.mgrid[:28, :28].reshape(2, -1) - centre(image)[:, None]
    return float(np.sqrt((grid**2).sum(axis=0) @ image.astype(float) / image.sum()))


@pytest.mark.parametrize("corruption", CORRUPTIONS, ids=list(BY_KEY))
def test_every_corruption_changes_images_the_same_way_each_time(
    corruption: Corruption, sample: Dataset
) -> None:
    images = sample.x_test[::50]
    corrupted = corruption.apply(images)
    assert corrupted.dtype == np.uint8
    assert (corrupted != images).any(axis=1).all()
    np.testing.assert_array_equal(corrupted, corruption.apply(images))


@pytest.mark.parametrize("distance", [1, 2, 4])
def test_shift_moves_the_digit_by_its_distance(distance: int) -> None:
    image = np.zeros((28, 28), np.uint8)
    image[10:18, 10:18] = 200
    moved = BY_KEY[f"shift_{distance}_pixels"].apply(np.tile(image.reshape(1, -1), (20, 1)))
    lengths = [np.linalg.norm(centre(m) - centre(image.reshape(-1))) for m in moved]
    assert max(lengths) == pytest.approx(distance, abs=0.6)
    assert min(lengths) >= distance - 0.6  # whole pixels, also along a diagonal


def test_scale_changes_the_size_by_its_factor(sample: Dataset) -> None:
    image = sample.x_test[:1]
    for key, factor in {"shrink_70_percent": 0.7, "enlarge_120_percent": 1.2}.items():
        assert spread(BY_KEY[key].apply(image)[0]) == pytest.approx(factor * spread(image[0]), rel=0.05)


def test_thin_and_thick_strokes_have_less_and_more_foreground(sample: Dataset) -> None:
    before = sample.x_test.mean()
    assert BY_KEY["thin_100_percent"].apply(sample.x_test).mean() < 0.75 * before
    assert BY_KEY["thick_3_pixels"].apply(sample.x_test).mean() > 1.5 * before


def test_inverting_twice_changes_nothing(sample: Dataset) -> None:
    invert = BY_KEY["invert_100_percent"]
    np.testing.assert_array_equal(invert.apply(invert.apply(sample.x_test)), sample.x_test)


def test_contrast_and_background_stay_in_range(sample: Dataset) -> None:
    assert BY_KEY["contrast_40_percent"].apply(sample.x_test).max() == 102
    grey = BY_KEY["background_60_percent"].apply(sample.x_test)
    assert (grey.min(), grey.max()) == (153, 255)


def test_large_test_sets_are_sampled_evenly() -> None:
    counts: list[int] = []

    def predict(images: np.ndarray) -> np.ndarray:
        counts.append(len(images))
        return np.eye(10, dtype=np.float32)[np.zeros(len(images), int)]

    result = measure_robustness(predict, np.zeros((10_000, 784), np.uint8), np.arange(10_000) // 1000)
    assert set(counts) == {MAX_IMAGES}
    assert len(counts) == 1 + len(CORRUPTIONS)
    assert result["robustness_clean_accuracy"] == pytest.approx(0.1, abs=0.001)
    assert result["robustness_mean_accuracy"] == pytest.approx(0.1, abs=0.001)


@pytest.mark.parametrize(("confidence", "auroc"), [(0.3, 0.75), (0.95, 0.0), (0.15, 1.0), (0.4, 0.625)])
def test_auroc_is_the_probability_of_less_confidence_than_a_test_image(
    confidence: float, auroc: float
) -> None:
    def predict(images: np.ndarray) -> np.ndarray:
        row = np.full(10, (1 - confidence) / 9, np.float32)
        row[7] = confidence
        return np.tile(row, (len(images), 1))

    images = np.random.default_rng(1).integers(0, 256, (50, 784), np.uint8)
    real = np.array([0.2, 0.4, 0.6, 0.8], np.float32)
    found = measure_out_of_distribution(predict, images, real)
    for name in out_of_distribution(images):
        assert found[f"ood_{name}_auroc"] == pytest.approx(auroc)
        assert found[f"ood_{name}_mean_confidence"] == pytest.approx(confidence)
        assert found[f"ood_{name}_confident_share"] == (confidence >= 0.9)


def test_out_of_distribution_images_match_their_names() -> None:
    images = np.tile(np.arange(784, dtype=np.uint16).clip(0, 255).astype(np.uint8), (3, 1))
    kinds = {name: unknown for name, (_, unknown) in out_of_distribution(images).items()}
    assert not kinds["blank"].any()
    assert (kinds["full"] == 255).all()
    np.testing.assert_array_equal(np.sort(kinds["shuffled"][0]), np.sort(images[0]))
    for name in ("noise", "clouds", "lines"):
        assert len(np.unique(kinds[name], axis=0)) == 500
