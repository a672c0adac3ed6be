from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from trainer.backend import keras
from trainer.errors import ParityError, TrainerError
from trainer.export.predictor import load_model, verify_parity

WEIGHTS = np.random.default_rng(5).normal(0, 0.002, (784, 10)).astype(np.float32)


def graph(shape: list[int | str], dtype: int = TensorProto.UINT8, *, softmax: bool = True) -> bytes:
    """ONNX: images of any shape -> softmax(pixels @ WEIGHTS)."""
    nodes = [
        helper.make_node("Cast", ["images"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Flatten", ["pixels"], ["flat"]),
        helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
        helper.make_node("Softmax" if softmax else "Identity", ["logits"], ["out"]),
    ]
    made = helper.make_graph(
        nodes,
        "linear",
        [helper.make_tensor_value_info("images", dtype, shape)],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, ["N", 10])],
        [numpy_helper.from_array(WEIGHTS[: 783 if 783 in shape else 784], "weights")],
    )
    model = helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    content: bytes = model.SerializeToString()
    return content


def expected(images: np.ndarray) -> np.ndarray:
    logits = images.astype(np.float32) @ WEIGHTS
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    return odds / odds.sum(axis=1, keepdims=True)


def write(path: Path, content: bytes) -> Path:
    path.write_bytes(content)
    return path


@pytest.fixture(scope="module")
def images() -> np.ndarray:
    return np.random.default_rng(6).integers(0, 256, (130, 784), np.uint8)


@pytest.mark.parametrize("dtype", [TensorProto.UINT8, TensorProto.FLOAT])
@pytest.mark.parametrize("shape", [["N", 784], ["N", 28, 28], [None, 28, 28, 1], ["N", 1, 28, 28]])
def test_onnx_model_may_take_images_in_any_shape(
    shape: list[int | str], dtype: int, images: np.ndarray, tmp_path: Path
) -> None:
    predict = load_model(write(tmp_path / "m.onnx", graph(shape, dtype)))
    np.testing.assert_allclose(predict(images), expected(images), atol=1e-5)


@pytest.mark.parametrize("suffix", ["keras", "h5"])
@pytest.mark.parametrize("shape", [(784,), (28, 28), (28, 28, 1)])
def test_keras_model_may_take_images_in_any_shape(
    shape: tuple[int, ...], suffix: str, images: np.ndarray, tmp_path: Path
) -> None:
    layers = [keras.layers.Flatten(), keras.layers.Dense(10, "softmax", use_bias=False)]
    network = keras.Sequential([keras.Input(shape), *layers])
    network.set_weights([WEIGHTS])
    network.save(tmp_path / f"m.{suffix}")
    # Nothing is inferred from the name.
    renamed = (tmp_path / f"m.{suffix}").rename(tmp_path / f"renamed.{suffix}")
    np.testing.assert_allclose(load_model(renamed)(images), expected(images), atol=1e-5)


def test_folder_means_the_graph_in_it(images: np.ndarray, tmp_path: Path) -> None:
    write(tmp_path / "model.onnx", graph(["N", 784]))
    assert load_model(tmp_path)(images).shape == (130, 10)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be loaded as an ONNX model"),
        (b"hello, world", "cannot be loaded as an ONNX model"),
        (graph(["N", 784])[:3000], "cannot be loaded as an ONNX model"),
        (b"\x89HDF\r\n\x1a\n and no more", "cannot be loaded as a Keras model"),
        (graph(["N", 783]), "takes images of shape [783], expected 784 numbers (28x28)"),
        (graph([1, 784]), "takes exactly 1 images at a time, expected any number"),
        (
            graph(["N", 784], TensorProto.INT64),
            "takes images tensor(int64), expected one tensor of uint8 or float",
        ),
    ],
)
def test_file_that_is_no_model_of_digits_is_named(content: bytes, message: str, tmp_path: Path) -> None:
    path = write(tmp_path / "m.onnx", content)
    with pytest.raises(TrainerError) as refused:
        load_model(path)
    assert str(refused.value).startswith(f"{path}: {message}")
    assert "\n" not in str(refused.value)


def test_missing_model_is_named(tmp_path: Path) -> None:
    with pytest.raises(TrainerError, match=r"no\.onnx: No such file"):
        load_model(tmp_path / "no.onnx")


def test_model_without_softmax_is_refused(images: np.ndarray, tmp_path: Path) -> None:
    predict = load_model(write(tmp_path / "m.onnx", graph(["N", 784], softmax=False)))
    with pytest.raises(
        TrainerError, match=r"the output for image 1 sums to .* expected probabilities .*softmax"
    ):
        predict(images)


def answers() -> np.ndarray:
    return np.random.default_rng(1).dirichlet(np.ones(10), size=50).astype(np.float32)


def test_float_noise_passes() -> None:
    assert verify_parity(answers(), answers() + np.float32(5e-5)) == pytest.approx(5e-5, rel=0.01)


def test_one_other_digit_fails_and_is_named() -> None:
    expected = answers()
    expected[7, 3] = expected[7].max() + np.float32(1e-6)
    exported = expected.copy()
    exported[7, 3] -= np.float32(2e-6)
    with pytest.raises(ParityError, match="1 of 50 digits differ; test image 7 is"):
        verify_parity(expected, exported)


def test_probability_off_by_more_than_a_ten_thousandth_fails() -> None:
    with pytest.raises(ParityError, match="expected at most 1e-04"):
        verify_parity(answers(), answers() + np.float32(2e-4))


def test_nan_fails() -> None:
    exported = answers()
    exported[3, exported[3].argmin()] = np.nan
    with pytest.raises(ParityError):
        verify_parity(answers(), exported)


def test_missing_answers_fail() -> None:
    with pytest.raises(ParityError, match=r"returns \(49, 10\), expected \(50, 10\)"):
        verify_parity(answers(), answers()[:-1])
