"""`digit-trainer quantize`."""

from pathlib import Path

from trainer.errors import writing
from trainer.run import Run

_MIN_SPEEDUP = 1.3
_MAX_OTHER_DIGITS = 0.001
_MAX_ACCURACY_LOSS = 0.0005
_BATCH_IMAGES = 64
_CALIBRATION_IMAGES = 2000
# Rounding to 8 bits changes probabilities of uncertain images; the digits must stay the same.
_GOLDEN_TOLERANCE = 0.2


def quantize(folder: Path, /, *, data: str | None = None) -> int:
    """Quantize a run's model to 8 bits, and keep that beside the float model if it pays.

    Parameters
    ----------
    folder
        Run directory of `train`.
    data
        The run's data, if it has moved.

    """
    from trainer.data.dataset import split_validation, stratified  # noqa: PLC0415  # TensorFlow takes seconds to import
    from trainer.export.predictor import (  # noqa: PLC0415
        load_network,
        onnx_predictor,
        speed_ratio,
    )
    from trainer.export.quantize import quantize as write_int8  # noqa: PLC0415
    from trainer.repository.manifest import golden_positions, golden_table  # noqa: PLC0415

    run = Run(folder)
    manifest, dataset = run.read_manifest(), run.read_data(data)
    split = split_validation(dataset, run.read_recipe().fit.validation_fraction)
    x, y = split.x_validation, split.y_validation
    # Images of all ten digits, even if the data is sorted.
    calibration = stratified(y, min(1.0, _CALIBRATION_IMAGES / len(y)))[1]
    metadata = {"recipe": manifest["recipe"], "data": dataset.name, "seed": str(manifest["seed"])}
    with writing(folder):
        write_int8(load_network(run.network), run.integer_model, x[calibration], metadata)
    in_float, in_int8 = onnx_predictor(run.model), onnx_predictor(run.integer_model)
    float_digits, digits = (each(x).argmax(axis=1) for each in (in_float, in_int8))
    others = int((digits != float_digits).sum())
    lost = int((float_digits == y).sum() - (digits == y).sum())
    # In a small validation set one image is more than the accepted share.
    allowed, may_lose = (max(1, int(share * len(y))) for share in (_MAX_OTHER_DIGITS, _MAX_ACCURACY_LOSS))
    speedup = speed_ratio(run.model, run.integer_model, x, _BATCH_IMAGES)
    pays = speedup >= _MIN_SPEEDUP and others <= allowed and lost <= may_lose
    manifest.pop("int8", None)
    if pays:
        probabilities = in_int8(dataset.x_test)
        golden = golden_positions(dataset.y_test)
        test_digits = probabilities.argmax(axis=1)
        manifest["int8"] = {
            "file": run.integer_model.name,
            "test_accuracy": float((test_digits == dataset.y_test).mean()),
            "same_digits": float((test_digits == in_float(dataset.x_test).argmax(axis=1)).mean()),
            "golden": golden_table(dataset.x_test[golden], probabilities[golden], _GOLDEN_TOLERANCE),
        }
    else:
        run.integer_model.unlink()
    with writing(folder):
        run.write_manifest(manifest)
    print(f"validation   {len(y):,} images")
    print(f"accuracy     {(digits == y).mean():.2%} in 8 bits, {(float_digits == y).mean():.2%} in float")
    print(f"other digits {others} (at most {allowed}); {lost} fewer right (at most {may_lose})")
    if may_lose > _MAX_ACCURACY_LOSS * len(y):
        print(f"caution      {len(y):,} images are few: one is more than {_MAX_ACCURACY_LOSS:.2%} of them")
    print(f"speed        {speedup:.2f} times the float graph's, batches of {_BATCH_IMAGES} on one thread")
    print(f"kept         {run.integer_model}" if pays else "not kept: it does not pay")
    return 0
