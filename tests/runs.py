"""Finished runs without training, for tests of publishing, labels and gates."""

from pathlib import Path

import numpy as np

from trainer.repository.manifest import golden_positions, golden_table, manifest_table
from trainer.run import Run

TEST_IMAGES = 1000


def make_run(folder: Path, wrong: int = 10, model: bytes = b"graph", test_sha256: str = "0" * 64) -> Run:
    """A finished run whose model misclassifies the first `wrong` of 1,000 test images, zeros, as threes."""
    run = Run(folder)
    run.report.mkdir(parents=True)
    run.model.write_bytes(model)
    images = np.arange(100 * 784, dtype=np.uint32).reshape(100, 784).astype(np.uint8)
    digits = np.arange(100) % 10
    golden = golden_positions(digits)
    rows = ["image\tdigit\tpredicted", *(f"{image}\t0\t3" for image in range(wrong))]
    (run.report / "misclassified.tsv").write_text("\n".join(rows) + "\n")
    data = {
        "name": "sample",
        "sha256": "0" * 64,
        "test_sha256": test_sha256,
        "train_images": 3600,
        "validation_images": 400,
        "test_images": TEST_IMAGES,
    }
    facts = {"recipe": "digits", "seed": 1, "parameters": 30_634, "exported_epoch": 0, "data": data}
    answers = golden_table(images[golden], np.eye(10, dtype=np.float32)[digits[golden]])
    run.write_manifest(manifest_table(folder, facts, answers, 1 - wrong / TEST_IMAGES))
    return run
