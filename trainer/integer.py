"""Whether a run's 8-bit form is worth keeping, and keeping it if so."""

from dataclasses import dataclass

from trainer.data.dataset import Dataset
from trainer.manifest import choose_golden, golden_table
from trainer.prediction import onnx_predictor
from trainer.quantize import quantize
from trainer.run import Run
from trainer.speed import speed_ratio

MIN_SPEEDUP = 1.3
MIN_SAME_DIGITS = 0.999
MAX_ACCURACY_LOSS = 0.0005
_CALIBRATION_IMAGES = 2000
_BATCH_IMAGES = 64
# Rounding to bytes moves the probabilities of doubtful images; the digits are what must stay.
_GOLDEN_TOLERANCE = 0.2


@dataclass(frozen=True)
class Trial:
    """The 8-bit graph beside the float one, on the test images and on this CPU."""

    float_accuracy: float
    accuracy: float
    same_digits: float
    speedup: float

    @property
    def pays(self) -> bool:
        """Whether it is fast enough, and close enough to the float graph."""
        return (
            self.speedup >= MIN_SPEEDUP
            and self.same_digits >= MIN_SAME_DIGITS
            and self.float_accuracy - self.accuracy <= MAX_ACCURACY_LOSS
        )


def try_integers(run: Run, dataset: Dataset) -> Trial:
    """Quantize a finished run's model; leave it in the run directory if it pays, else remove it.

    Calibrated on training images, judged on test images. Raises TrainerError when the graph is of a form
    that cannot be quantized.
    """
    table = run.read_manifest()
    quantize(run.model, run.integer_model, dataset.x_train[:_CALIBRATION_IMAGES])
    in_float = onnx_predictor(run.model)(dataset.x_test).argmax(axis=1)
    probabilities = onnx_predictor(run.integer_model)(dataset.x_test)
    digits = probabilities.argmax(axis=1)
    trial = Trial(
        float_accuracy=float((in_float == dataset.y_test).mean()),
        accuracy=float((digits == dataset.y_test).mean()),
        same_digits=float((digits == in_float).mean()),
        speedup=speed_ratio(run.model, run.integer_model, dataset.x_test, _BATCH_IMAGES),
    )
    table.pop("int8", None)
    if trial.pays:
        golden = choose_golden(dataset.x_test, dataset.y_test, probabilities)
        table["int8"] = {
            "file": run.integer_model.name,
            "test_accuracy": trial.accuracy,
            "same_digits": trial.same_digits,
            "golden": golden_table(golden, _GOLDEN_TOLERANCE),
        }
    else:
        run.integer_model.unlink()
    run.write_manifest(table)
    return trial
