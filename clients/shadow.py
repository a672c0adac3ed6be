"""Shadow traffic in a server's metrics: candidates compared with answering versions."""

import math
import urllib.request
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from http.client import HTTPException

from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from clients.errors import InputError

METRICS = "http://127.0.0.1:9090/metrics"
_TIMEOUT_SECONDS = 10.0


@dataclass
class Shadow:
    """A comparison of a candidate with the answering version."""

    model: str
    version: str
    shadow_version: str
    confusion: Counter[tuple[str, str]] = field(default_factory=Counter)
    skipped: int = 0
    image_us: float = math.nan
    """Mean microseconds of one image in the version that answers."""
    shadow_image_us: float = math.nan
    """Likewise in the candidate."""

    @property
    def images(self) -> int:
        """Number of images that both versions ran."""
        return self.confusion.total()

    @property
    def agreed(self) -> int:
        """Number of images with the same digit."""
        return sum(count for (digit, other), count in self.confusion.items() if digit == other)


def read_shadows(url: str) -> list[Shadow]:
    """Return the comparisons in the metrics at `url`. Raises InputError."""
    families = _read(url)
    if not any(family.name == "digits_shadow_images" for family in families):
        raise InputError(
            f"--metrics {url}: has no digits_shadow_images, expected the metrics of a digit-server"
        )
    return _shadows(families)


def _read(url: str) -> list[Metric]:
    if not url.startswith(("http://", "https://")):
        raise InputError(f"--metrics {url}: expected a URL such as http://127.0.0.1:9090/metrics")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as page:  # noqa: S310 - checked above
            return list(text_string_to_metric_families(page.read().decode()))
    except (OSError, HTTPException) as error:
        raise InputError(f"--metrics {url}: {getattr(error, 'reason', error)}") from None
    except ValueError as error:
        raise InputError(f"--metrics {url}: no page of metrics: {error}") from None


def _shadows(families: list[Metric]) -> list[Shadow]:
    found: dict[tuple[str, str, str], Shadow] = {}
    totals: dict[tuple[str, str, str], float] = defaultdict(float)
    for sample in (sample for family in families for sample in family.samples):
        labels = sample.labels
        if sample.name == "digits_shadow_images_total":
            key = labels["model"], labels["version"], labels["shadow_version"]
            each = found.setdefault(key, Shadow(*key))
            each.confusion[labels["digit"], labels["shadow_digit"]] += int(sample.value)
        elif "model" in labels:
            version = labels.get("shadow_version") or labels.get("version", "")
            totals[sample.name, labels["model"], version] += sample.value
    for each in found.values():
        stable, candidate = (each.model, each.version), (each.model, each.shadow_version)
        each.skipped = int(totals["digits_shadow_skipped_images_total", *candidate])
        compared = sum(
            other.images for other in found.values() if candidate == (other.model, other.shadow_version)
        )
        answered = totals["digits_predictions_total", *stable] or math.nan
        each.image_us = totals["digits_compute_duration_seconds_sum", *stable] / answered * 1e6
        each.shadow_image_us = totals["digits_shadow_duration_seconds_sum", *candidate] / compared * 1e6
    return sorted(found.values(), key=lambda each: (each.model, each.version, each.shadow_version))
