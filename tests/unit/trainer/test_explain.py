import pytest

from trainer.backend import keras
from trainer.cli import main
from trainer.commands.describe import formula, multiply_adds, windows


def layers(*stack: keras.layers.Layer) -> list[keras.layers.Layer]:
    return list(keras.Sequential([keras.Input((28, 28, 3)), *stack]).layers)


def test_the_tutorials_formula_is_worked_out() -> None:
    conv = keras.layers.Conv2D
    same, dilated, strided, pool = layers(
        conv(4, 3, padding="same"),
        conv(4, 3, dilation_rate=2),
        conv(4, 5, strides=2),
        keras.layers.MaxPooling2D(),
    )
    assert formula(same) == "(28 - 3 + 2*1) / 1 + 1 = 28"
    assert formula(dilated) == "(28 - (3 + 2*1) + 2*0) / 1 + 1 = 24"
    assert formula(strided) == "(24 - 5 + 2*0) / 2 + 1 = rounded down 10"
    assert formula(pool) == "(10 - 2 + 2*0) / 2 + 1 = 5"
    assert windows(dilated) == ((3, 3), (1, 1), (2, 2))


def test_multiply_adds_count_each_weight_at_each_position() -> None:
    stack = layers(
        keras.layers.Conv2D(4, 3),  # (26, 26)
        keras.layers.DepthwiseConv2D(3),  # (24, 24)
        keras.layers.SeparableConv2D(5, 3),  # (22, 22)
        keras.layers.Conv2DTranspose(2, 3),
        keras.layers.Flatten(),
        keras.layers.Dense(10),
    )
    counts = [multiply_adds(layer, layer.input.shape[1:], layer.output.shape[1:]) for layer in stack]
    assert counts == [
        26 * 26 * 9 * 3 * 4,
        24 * 24 * 9 * 4,
        22 * 22 * (9 * 4 + 4 * 5),
        22 * 22 * 9 * 5 * 2,
        0,
        24 * 24 * 2 * 10,
    ]


def test_explain_shows_keras_summary_and_receptive_fields(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["explain", "tutorial"]) == 0
    said = capsys.readouterr().out
    assert "Total params: 30,634" in said
    assert "10x10" in said
    assert "(28 - 3 + 2*1) / 1 + 1 = 28" in said
    assert "3,117,312" in said
