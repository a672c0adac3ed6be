"""Our server against ONNX Runtime alone, in one run on one core: `make bench`.

Rounds alternate between what is compared, so that a machine whose speed drifts does not decide. Ratios
carry over to other machines; absolute figures do not.
"""

import sys
from pathlib import Path

from rich.console import Console
from rich.table import Table

from server.settings import SHIPPED_REPOSITORY
from tests.bench.processes import load, medians, raw_images_per_second, resident_mb, server, write_json

ROUNDS = 3
RESULTS = Path("build/bench/results.json")


def main() -> int:
    """Measure, print a table, write RESULTS."""
    model = next((SHIPPED_REPOSITORY / "digits").glob("*/model.onnx"))
    rounds = []
    for _ in range(ROUNDS):
        figures = {"raw_images_per_second": raw_images_per_second(model, 64)}
        with server() as running:
            figures["start_seconds"] = running.start_seconds
            figures["resident_mb_at_start"] = resident_mb(running.process)
            calls = {64: 1000, 1: 10_000}
            for images, inflight in ((64, 8), (1, 64), (1, 1)):
                result = load(
                    running.grpc_port,
                    images,
                    inflight=inflight,
                    calls=calls[images] // (64 // inflight if images == 1 else 1),
                )
                key = f"{images}_images_{inflight}_in_flight"
                figures[f"{key}_images_per_second"] = result.calls_per_second * images
                figures[f"{key}_p50_ms"] = result.p50 * 1e3
                figures[f"{key}_p99_ms"] = result.p99 * 1e3
            figures["resident_mb_at_end"] = resident_mb(running.process)
            if failed := running.metric("digits_requests_total") - running.metric(
                "digits_requests_total", code="OK"
            ):
                raise RuntimeError(f"{failed:.0f} calls failed")
        rounds.append(figures)
    result = medians(rounds)
    result["64_images_of_raw"] = (
        result["64_images_8_in_flight_images_per_second"] / result["raw_images_per_second"]
    )
    table = Table(title=f"One core, medians of {ROUNDS} rounds")
    table.add_column("figure")
    table.add_column("value", justify="right")
    for name, value in result.items():
        table.add_row(name.replace("_", " "), f"{value:,.2f}")
    Console().print(table)
    write_json(RESULTS, result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
