"""`digit-client shadow`."""

import json
import sys
from dataclasses import asdict
from typing import Annotated, Any

from cyclopts import Parameter

from clients.commands.options import OUTPUT, Output
from clients.commands.output import interval, print_rows
from clients.shadow import METRICS, Shadow, read_shadows

_METRICS = Parameter(help="The server's page of metrics.")
_SHOWN = 5
_NUMBERS = ("version", "shadow", "images", "skipped", "agreement")
_TIMES = ("us an image", "candidate")
_COLUMNS = ("model", *_NUMBERS, "95 % interval", *_TIMES, "differences")


def shadow(
    model: str = "",
    /,
    *,
    metrics: Annotated[str, _METRICS] = METRICS,
    output: Annotated[Output, OUTPUT] = "table",
) -> int:
    """Show the agreement of shadow candidates; exit code 1 if nothing was compared yet."""
    found = [each for each in read_shadows(metrics) if model in {"", each.model}]
    if output == "json":
        sys.stdout.writelines(json.dumps(_record(each)) + "\n" for each in found)
    elif found or output == "tsv":
        print_rows(_COLUMNS, map(_row, found), tabs=output == "tsv", right=_NUMBERS + _TIMES)
    if not found:
        which = f"of model {model} " if model else ""
        sys.stderr.write(
            f"digit-client: no candidate {which}was compared yet; "
            "`digit-trainer publish RUN --repository REPOSITORY --label canary --shadow 0.2` begins\n"
        )
    return 0 if found else 1


def _record(shadow: Shadow) -> dict[str, Any]:
    low, high = interval(shadow.agreed, shadow.images)
    return asdict(shadow) | {
        "images": shadow.images,
        "agreement": shadow.agreed / shadow.images,
        "agreement_low": low,
        "agreement_high": high,
        "confusion": [[digit, other, count] for (digit, other), count in sorted(shadow.confusion.items())],
    }


def _row(shadow: Shadow) -> tuple[str, ...]:
    low, high = interval(shadow.agreed, shadow.images)
    differences = [
        f"{digit} is {other}: {count:,}"
        for (digit, other), count in shadow.confusion.most_common()
        if digit != other
    ]
    return (
        *(shadow.model, shadow.version, shadow.shadow_version, f"{shadow.images:,}", f"{shadow.skipped:,}"),
        *(f"{shadow.agreed / shadow.images:.3%}", f"{low:.3%} to {high:.3%}"),
        *(f"{shadow.image_us:,.0f}", f"{shadow.shadow_image_us:,.0f}"),
        ", ".join(differences[:_SHOWN]) or "-",
    )
