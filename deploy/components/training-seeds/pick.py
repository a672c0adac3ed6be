"""Publish the best of several runs: `pick.py publish RUNS OPTION...`, as `digit-trainer publish`."""

import json
import sys
from pathlib import Path

from trainer.cli import main


def best_run(runs: Path) -> Path:
    """Return the finished run with the highest validation accuracy; the test images have no say."""
    accuracy = {
        metrics.parents[1]: json.loads(metrics.read_text())["validation_accuracy"]
        for metrics in sorted(runs.glob("*/report/metrics.json"))
    }
    if not accuracy:
        sys.exit(f"pick: no finished run in {runs}")
    for run, value in accuracy.items():
        sys.stdout.write(f"{run}  {value:.2%}\n")
    return max(accuracy, key=lambda run: accuracy[run])


if __name__ == "__main__":
    command, folder, *options = sys.argv[1:]
    sys.exit(main([command, str(best_run(Path(folder))), *options]))
