"""All that is measured about a run's model, in one place for every form the report takes."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from trainer.data.dataset import Dataset
from trainer.evaluation.calibration import Calibration, calibrate
from trainer.evaluation.counts import Evaluation, evaluate
from trainer.evaluation.curves import Curves, digit_curves
from trainer.evaluation.latency import Latency, measure_latency
from trainer.evaluation.robustness import Robustness, measure_robustness
from trainer.evaluation.unfamiliar import Unfamiliar, measure_unfamiliar
from trainer.parity import Parity, verify_parity
from trainer.prediction import load_model
from trainer.report.record import Record
from trainer.run import Run


@dataclass(frozen=True)
class Integers:
    """The same model in 8-bit integers, where a run has one; `same_digits` is the share of test images."""

    accuracy: float
    same_digits: float
    model_bytes: int
    latency: tuple[Latency, ...]


@dataclass(frozen=True, eq=False)
class Evidence:
    """A run and what its exported graph did; `probabilities` float32 [n, 10] are its answers on `x_test`."""

    record: Record
    x_test: NDArray[np.uint8]
    y_test: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    evaluation: Evaluation
    calibration: Calibration
    curves: tuple[Curves, ...]
    robustness: Robustness
    unfamiliar: tuple[Unfamiliar, ...]
    parity: Parity
    latency: tuple[Latency, ...]
    model_bytes: int
    keras_bytes: int
    integers: Integers | None = None

    @property
    def predicted(self) -> NDArray[np.int64]:
        """The most probable digits [n]."""
        digits: NDArray[np.int64] = self.probabilities.argmax(axis=1)
        return digits


def gather_evidence(run: Run, record: Record, dataset: Dataset) -> Evidence:
    """Measure a run's exported graph on the test images of the data it was trained on.

    Raises TrainerError when a model cannot be loaded, or the graph does not answer as the Keras network.
    """
    x_test, y_test = dataset.x_test, dataset.y_test
    predict = load_model(run.model)
    probabilities = predict(x_test)
    return Evidence(
        record=record,
        x_test=x_test,
        y_test=y_test,
        probabilities=probabilities,
        evaluation=evaluate(y_test, probabilities.argmax(axis=1)),
        calibration=calibrate(y_test, probabilities),
        curves=digit_curves(y_test, probabilities),
        robustness=measure_robustness(predict, x_test, y_test),
        unfamiliar=measure_unfamiliar(predict, x_test, probabilities.max(axis=1)),
        parity=verify_parity(load_model(run.network)(x_test), probabilities),
        latency=measure_latency(run.model, x_test),
        model_bytes=run.model.stat().st_size,
        keras_bytes=run.network.stat().st_size,
        integers=_integers(run, x_test, y_test, probabilities) if run.integer_model.exists() else None,
    )


def _integers(
    run: Run, x_test: NDArray[np.uint8], y_test: NDArray[np.int64], probabilities: NDArray[np.float32]
) -> Integers:
    digits = load_model(run.integer_model)(x_test).argmax(axis=1)
    return Integers(
        accuracy=float((digits == y_test).mean()),
        same_digits=float((digits == probabilities.argmax(axis=1)).mean()),
        model_bytes=run.integer_model.stat().st_size,
        latency=measure_latency(run.integer_model, x_test),
    )
