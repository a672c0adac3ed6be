import dataclasses
import json
from pathlib import Path

import pytest

from trainer.report.evidence import Evidence, Int8, metrics_text, run_metrics

GOLDEN = Path(__file__).with_name("metrics_keys.txt")


def test_keys_are_the_golden_ones(evidence: Evidence) -> None:
    assert list(run_metrics(evidence)) == GOLDEN.read_text().split(), (
        f"metrics.json is a contract; if the change is meant, write the new keys into {GOLDEN.name}"
    )


def test_8_bit_model_has_keys_of_its_own(evidence: Evidence) -> None:
    int8 = Int8(0.8, 0.999, 400, 9000, evidence.latency)
    table = run_metrics(dataclasses.replace(evidence, int8=int8))
    own = [key for key in table if key.startswith("int8_")]
    assert own[:3] == ["int8_test_accuracy", "int8_same_digits_share", "int8_model_bytes"]
    assert set(own[3:]) == {f"int8_{key}" for key in table if key.startswith(("latency_", "throughput_"))}


def test_table_is_flat_but_for_the_confusion_matrix_and_is_json(evidence: Evidence) -> None:
    table = json.loads(metrics_text(run_metrics(evidence)))
    matrix = table.pop("confusion_matrix")
    assert len(matrix) == len(matrix[0]) == 10
    assert all(isinstance(value, int | float) for value in table.values())


def test_numbers_agree_with_each_other(evidence: Evidence) -> None:
    table = run_metrics(evidence)
    confusion = evidence.scores.confusion
    assert confusion.sum() == table["test_images"] == 1000
    assert table["test_accuracy"] == confusion.trace() / 1000 == 1 - table["test_errors_images"] / 1000
    assert table["test_accuracy_low"] < table["test_accuracy"] < table["test_accuracy_high"]
    assert table["digit_3_recall"] == pytest.approx(confusion[3, 3] / confusion[3].sum())
    assert table["robustness_clean_accuracy"] == pytest.approx(table["test_accuracy"])
    assert table["fit_duration_seconds"] == 4.5
    assert table["epochs"] == 3
    assert table["validation_accuracy"] == 0.9  # of the exported epoch, the second
