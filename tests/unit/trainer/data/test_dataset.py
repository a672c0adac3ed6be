import numpy as np

from trainer.data.dataset import Dataset, split_validation
from trainer.data.sample import load_sample


def rows(images: np.ndarray) -> set[bytes]:
    return {row.tobytes() for row in images}


def test_sample_is_balanced_and_its_test_part_is_apart() -> None:
    data = load_sample()
    assert np.bincount(data.y_train).tolist() == [400] * 10
    assert np.bincount(data.y_test).tolist() == [100] * 10
    assert data.x_train.dtype == np.uint8
    assert not rows(data.x_train) & rows(data.x_test)


def test_validation_comes_from_the_training_part_alone_and_is_always_the_same() -> None:
    data = load_sample()
    split, again = split_validation(data, 0.1), split_validation(data, 0.1)
    assert np.bincount(split.y_validation).tolist() == [40] * 10
    assert rows(split.x_validation) <= rows(data.x_train)
    assert not rows(split.x_validation) & rows(split.x_train)
    assert len(split.y_train) + len(split.y_validation) == len(data.y_train)
    np.testing.assert_array_equal(split.x_validation, again.x_validation)


def test_digest_changes_with_one_pixel() -> None:
    data = load_sample()
    x_test = data.x_test.copy()
    x_test[0, 0] ^= 1
    assert Dataset("other", data.x_train, data.y_train, x_test, data.y_test).sha256 != data.sha256
