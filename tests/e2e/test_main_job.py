"""Train, publish, serve, predict: real processes on real digits."""

from pathlib import Path

import numpy as np
import pytest

from clients import Client
from clients.data import read, read_labels
from tests.conftest import Trained
from tests.process import running


def test_a_published_run_is_served_as_keras_predicts_it(trained: Trained) -> None:
    import keras  # noqa: PLC0415 - slow, and only needed here

    from trainer.data.dataset import load_sample  # noqa: PLC0415 - likewise

    images = load_sample().x_test
    expected = keras.models.load_model(trained.run.network).predict(images, verbose=0)

    with running("--model-repository", trained.repository) as server, Client(server.address) as client:
        predictions = client.predict(images, probabilities=True)
        assert server.metric("digits_predictions_total", model="digits", version="1") == len(images)

    np.testing.assert_allclose([each.probabilities for each in predictions], expected, atol=1e-4)
    assert [each.digit for each in predictions] == expected.argmax(axis=1).tolist()
    assert {(each.model, each.version) for each in predictions} == {("digits", 1)}


@pytest.mark.mnist
def test_shipped_model_is_right_on_98_5_percent_of_mnist_through_the_server(mnist_dir: Path) -> None:
    images = read(mnist_dir / "t10k-images-idx3-ubyte.gz").images
    digits = read_labels(mnist_dir / "t10k-labels-idx1-ubyte.gz")
    with running() as server, Client(server.address) as client:
        predicted = np.array([each.digit for each in client.predict(images)])
    assert len(predicted) == 10_000
    assert (predicted == digits).mean() >= 0.985
