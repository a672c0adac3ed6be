"""`digit-trainer quantize`."""

from pathlib import Path

from trainer.errors import writing
from trainer.run import Run


def quantize(run: Path, /, *, data: str | None = None) -> int:
    """Try a finished run's model in 8-bit integers, and keep it beside the float one if it pays.

    It pays when it is 1.3 times as fast on this CPU, gives the same digit for 99.9 % of the test images and
    loses at most 0.05 points of accuracy. `publish` then takes it along.

    Parameters
    ----------
    run
        Run directory of `train`.
    data
        The run's data, if it is no longer where it was.

    """
    from trainer.integer import try_integers  # noqa: PLC0415  # onnx takes a second to import
    from trainer.report.record import load_run_data  # noqa: PLC0415

    folder = Run(run)
    dataset = load_run_data(folder, folder.read_manifest(), data)
    with writing(run):
        trial = try_integers(folder, dataset)
    print(f"accuracy     {trial.accuracy:.2%} in integers, {trial.float_accuracy:.2%} in float")
    print(f"same digits  {trial.same_digits:.2%}")
    print(f"speed        {trial.speedup:.2f} times the float graph's, batches of 64 on one thread")
    print(f"kept         {folder.integer_model}" if trial.pays else "not kept: it does not pay")
    return 0
