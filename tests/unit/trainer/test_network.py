import numpy as np
import pytest

from trainer.backend import keras, tf
from trainer.network import FoldableNormalization, fold, parameter_count, served_network, training_network
from trainer.recipe import load_recipe, shipped_recipes


def images(count: int) -> np.ndarray:
    return np.random.default_rng(1).integers(0, 256, (count, 784)).astype(np.float32)


def test_digits_serves_exactly_the_tutorials_parameters() -> None:
    served = served_network(load_recipe("digits"))
    counts = [parameter_count(layer) for layer in served.layers if layer.trainable_weights]
    assert counts == [640, 18_464, 11_530]
    assert parameter_count(served) == 30_634


def test_digits_trains_as_many_numbers_as_it_serves() -> None:
    assert parameter_count(training_network(load_recipe("digits"))) == 30_634


@pytest.mark.parametrize("name", shipped_recipes())
def test_folded_network_equals_the_trained_one(name: str) -> None:
    recipe = load_recipe(name)
    keras.utils.set_random_seed(1)
    trained = training_network(recipe)
    rng = np.random.default_rng(2)
    for layer in trained.layers:
        if isinstance(layer, FoldableNormalization):
            layer.offset.assign(rng.normal(size=layer.offset.shape))
            layer.mean.assign(rng.normal(size=layer.mean.shape))
            layer.variance.assign(rng.uniform(0.01, 4, size=layer.variance.shape))
    x = images(20)
    np.testing.assert_allclose(fold(recipe, trained)(x), trained(x, training=False), atol=1e-5)


def test_normalization_follows_the_batch_while_training() -> None:
    layer = FoldableNormalization()
    x = tf.random.stateless_normal((64, 5, 5, 3), (1, 2), mean=7.0, stddev=4.0)
    y = layer(x, training=True).numpy()
    np.testing.assert_allclose(y.mean(axis=(0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(y.std(axis=(0, 1, 2)), 1, atol=1e-3)
    # The first batch counts in full: an average would hold on to the initial zeros.
    np.testing.assert_allclose(layer.mean, x.numpy().mean(axis=(0, 1, 2)), rtol=1e-4)
    layer(x + 1.0, training=True)
    np.testing.assert_allclose(layer.mean, x.numpy().mean(axis=(0, 1, 2)) + 0.9, rtol=1e-4)
