import numpy as np

from trainer.evaluation.unfamiliar import measure_unfamiliar


def constant(confidence: float) -> object:
    row = np.full(10, (1 - confidence) / 9, np.float32)
    row[7] = confidence
    return lambda images: np.tile(row, (len(images), 1))


def test_separation_is_how_often_unfamiliar_images_get_less_confidence() -> None:
    images = np.random.default_rng(1).integers(0, 256, (50, 784), np.uint8)
    real = np.array([0.2, 0.4, 0.6, 0.8], np.float32)
    for confidence, separation in ((0.3, 0.75), (0.95, 0.0), (0.15, 1.0)):
        for kind in measure_unfamiliar(constant(confidence), images, real):  # type: ignore[arg-type]
            assert kind.separation == separation
            assert abs(kind.mean_confidence - confidence) < 1e-6
            assert kind.confident_share == (confidence >= 0.9)


def test_equal_confidence_is_no_separation() -> None:
    images = np.zeros((5, 784), np.uint8)
    real = constant(0.5)(images).max(axis=1)  # type: ignore[operator]
    assert {kind.separation for kind in measure_unfamiliar(constant(0.5), images, real)} == {0.5}  # type: ignore[arg-type]


def test_kinds_are_what_they_are_called() -> None:
    images = np.tile(np.arange(784, dtype=np.uint16).clip(0, 255).astype(np.uint8), (3, 1))
    shown: list[np.ndarray] = []

    def predict(of: np.ndarray) -> np.ndarray:
        shown.append(of)
        return np.full((len(of), 10), 0.1, np.float32)

    kinds = {
        kind.name: of
        for kind, of in zip(measure_unfamiliar(predict, images, np.ones(3, np.float32)), shown, strict=True)
    }
    assert not kinds["blank"].any()
    assert (kinds["full"] == 255).all()
    np.testing.assert_array_equal(np.sort(kinds["shuffled"][0]), np.sort(images[0]))
    assert all(of.dtype == np.uint8 and of.shape[1] == 784 for of in shown)
    for name in ("noise", "clouds", "lines"):
        assert len(np.unique(kinds[name], axis=0)) == 500
