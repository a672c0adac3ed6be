"""`digit-client shadow`."""

import json
import sys
from typing import Annotated

from cyclopts import Parameter

from clients.commands.options import OUTPUT, Output
from clients.commands.output import print_rows
from clients.shadow import METRICS, Shadow, read_shadows

_METRICS = Parameter(help="The server's page of metrics.")
_SHOWN = 5
_COLUMNS = (
    "model",
    "version",
    "shadow",
    "images",
    "skipped",
    "agreement",
    "95 % interval",
    "us an image",
    "candidate",
    "differences",
)
_RIGHT = ("version", "shadow", "images", "skipped", "agreement", "us an image", "candidate")


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
        sys.stdout.writelines(json.dumps(each.record()) + "\n" for each in found)
    elif found or output == "tsv":
        print_rows(_COLUMNS, map(_row, found), tabs=output == "tsv", right=_RIGHT)
    if not found:
        which = f"of model {model} " if model else ""
        sys.stderr.write(
            f"digit-client: no candidate {which}was compared yet; "
            "`digit-trainer publish RUN --repository REPOSITORY "
            "--label canary --shadow 0.2` begins\n"
        )
    return 0 if found else 1


def _row(shadow: Shadow) -> tuple[str, ...]:
    low, high = shadow.interval
    differences = ", ".join(
        f"{digit} is {other}: {count:,}" for digit, other, count in shadow.differences[:_SHOWN]
    )
    return (
        *(shadow.model, shadow.version, shadow.shadow_version, f"{shadow.images:,}", f"{shadow.skipped:,}"),
        *(f"{shadow.agreed / shadow.images:.3%}", f"{low:.3%} to {high:.3%}"),
        *(f"{shadow.image_us:,.0f}", f"{shadow.shadow_image_us:,.0f}", differences or "-"),
    )
