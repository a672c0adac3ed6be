import numpy as np
import pytest

from trainer.data.augment import augment
from trainer.recipe import Augment, load_recipe

SEED = (8, 1)


def one_stroke() -> np.ndarray:
    image = np.zeros((4, 28, 28), np.uint8)
    image[:, 8:20, 13:15] = 255
    return image.reshape(4, 784)


def test_nothing_asked_for_changes_nothing() -> None:
    images = one_stroke()
    np.testing.assert_array_equal(augment(images, Augment(), SEED), images)


def test_same_seed_varies_the_same_way_and_another_does_not() -> None:
    how = load_recipe("digits").augment
    first, again, other = (augment(one_stroke(), how, seed).numpy() for seed in (SEED, SEED, (16, 1)))
    np.testing.assert_array_equal(first, again)
    assert (first != other).any()


def test_late_epochs_scale_every_width_and_share() -> None:
    how = Augment(shift_pixels=3, blur_chance=0.2, plain_chance=0.1, late_share=0.3, late_strength=0.5)
    assert [how.in_epoch(epoch, 10) is how for epoch in (1, 7, 8, 10)] == [True, True, False, False]
    assert how.in_epoch(8, 10) == Augment(shift_pixels=1.5, blur_chance=0.1, plain_chance=0.1)


def test_each_image_is_varied_on_its_own() -> None:
    varied = augment(one_stroke(), Augment(shift_pixels=3), SEED).numpy()
    assert len(np.unique(varied, axis=0)) == 4


@pytest.mark.parametrize(
    "how",
    [
        Augment(shift_pixels=14),
        Augment(rotate_degrees=180),
        Augment(scale=0.9, shear=1, elastic_pixels=10),
        Augment(stroke_chance=1),
        Augment(contrast_chance=1),
        Augment(noise_chance=1, impulse_chance=1),
        Augment(invert_chance=1),
    ],
)
def test_pixels_stay_pixels(how: Augment) -> None:
    varied = augment(one_stroke(), how, SEED).numpy()
    assert varied.shape == (4, 784)
    assert np.isfinite(varied).all()
    assert varied.min() >= 0
    assert varied.max() <= 255
    assert (varied != one_stroke()).any()


def test_shift_keeps_the_ink() -> None:
    varied = augment(one_stroke(), Augment(shift_pixels=3), SEED).numpy()
    np.testing.assert_allclose(varied.sum(axis=1), one_stroke().sum(axis=1), rtol=1e-3)


def test_inversion_swaps_ink_and_background() -> None:
    np.testing.assert_array_equal(augment(one_stroke(), Augment(invert_chance=1), SEED), 255 - one_stroke())


def test_chance_is_the_share_of_images() -> None:
    images = np.zeros((4000, 784), np.uint8)
    inverted = augment(images, Augment(invert_chance=0.25), SEED).numpy().max(axis=1) == 255
    assert inverted.mean() == pytest.approx(0.25, abs=0.03)
