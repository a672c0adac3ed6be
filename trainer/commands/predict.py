"""`digit-trainer predict`: digits for a table of images."""

import sys
from pathlib import Path
from typing import Annotated

from cyclopts import Parameter

from trainer.data.folder import read_values
from trainer.data.values import images_from
from trainer.errors import TrainerError
from trainer.prediction import load_model
from trainer.report.tables import predictions_table, probabilities_table


def predict(
    model: Path,
    table: Path,
    /,
    *,
    output: Annotated[Path | None, Parameter(name=["--output", "-o"])] = None,
    proba: bool = False,
) -> int:
    """Predict the digits of the images in a table.

    Parameters
    ----------
    model
        ONNX or Keras model, or a run directory or published version.
    table
        Images without digits: a table (784 columns, with or without header) or IDX, plain or gzip.
    output
        Where the predictions go, tab-separated; standard output if not given.
    proba
        Write ten probabilities a row, header 0-9, instead of one digit a row, header Predicted.

    """
    images = images_from(read_values(table))
    probabilities = load_model(model)(images)
    text = probabilities_table(probabilities) if proba else predictions_table(probabilities)
    if output is None:
        sys.stdout.write(text)
        return 0
    try:
        output.write_text(text, encoding="ascii")
    except OSError as error:
        raise TrainerError(f"{output}: cannot write predictions: {error.strerror}") from error
    return 0
