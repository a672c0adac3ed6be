import json
from pathlib import Path

import pytest

from trainer.report.evidence import Evidence, metrics_text

GOLDEN = Path(__file__).with_name("metrics_keys.txt")


def test_keys_are_the_golden_ones(evidence: Evidence) -> None:
    assert sorted(evidence.metrics) == sorted(GOLDEN.read_text().split()), (
        f"metrics.json is a contract; if the change is meant, write the new keys into {GOLDEN.name}"
    )


def test_table_is_flat_but_for_the_confusion_matrix_and_is_json(evidence: Evidence) -> None:
    table = json.loads(metrics_text(evidence.metrics))
    matrix = table.pop("confusion_matrix")
    assert len(matrix) == len(matrix[0]) == 10
    assert all(isinstance(value, int | float) for value in table.values())


def test_numbers_agree_with_each_other(evidence: Evidence) -> None:
    table = evidence.metrics
    confusion = evidence.confusion
    assert confusion.sum() == table["test_images"] == 1000
    assert table["test_accuracy"] == confusion.trace() / 1000 == 1 - table["test_errors_images"] / 1000
    assert table["test_accuracy_low"] < table["test_accuracy"] < table["test_accuracy_high"]
    assert table["digit_3_recall"] == pytest.approx(confusion[3, 3] / confusion[3].sum())
    assert table["robustness_clean_accuracy"] == pytest.approx(table["test_accuracy"])
    assert table["fit_duration_seconds"] == 4.5
    assert table["epochs"] == 3
    assert table["validation_accuracy"] == 0.9  # of the exported epoch, the second
