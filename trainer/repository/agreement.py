"""The gate of shadow traffic: how often a version gave the stable version's digit on a server's traffic."""

import urllib.request
from http.client import HTTPException
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from trainer.errors import GateRefused, TrainerError
from trainer.repository.publish import STABLE
from trainer.repository.versions import labels

_IMAGES = "digits_shadow_images_total"
_TIMEOUT_SECONDS = 10.0


def require_agreement(folder: Path, version: int, agreement: float, images: int, url: str) -> str:
    """Return, in words, on how many images a version agreed with the stable one, by the metrics at `url`.

    Raises GateRefused when it did on less than the share `agreement` of them, or when they are fewer than `images`;
    TrainerError when the metrics cannot be read.
    """
    stable = labels(folder).get(STABLE)
    if stable is None:
        raise GateRefused(f"{folder}: no version is labelled {STABLE}, so there is no agreement with it")
    compared = agreed = 0
    for labelled, value in _samples(url):
        named = labelled["model"], labelled["version"], labelled["shadow_version"]
        if named == (folder.name, str(stable), str(version)):
            compared += value
            agreed += value * (labelled["digit"] == labelled["shadow_digit"])
    if compared < images:
        raise GateRefused(
            f"version {version} of {folder.name} was compared with version {stable} on {compared:,} images, "
            f"expected at least {images:,}"
        )
    words = f"{agreed:,} of {compared:,} images get the digit of version {stable} ({agreed / compared:.3%})"
    if agreed / compared < agreement:
        raise GateRefused(f"version {version} of {folder.name}: {words}, expected at least {agreement:.3%}")
    return words


def _samples(url: str) -> list[tuple[dict[str, str], int]]:
    """Return labels and value of each series of compared images."""
    if not url.startswith(("http://", "https://")):
        raise TrainerError(f"--metrics {url}: expected a URL such as http://127.0.0.1:9090/metrics")
    try:
        with urllib.request.urlopen(url, timeout=_TIMEOUT_SECONDS) as page:  # noqa: S310 - checked above  # nosec B310
            families = list(text_string_to_metric_families(page.read().decode()))
    except (OSError, HTTPException) as error:
        raise TrainerError(f"--metrics {url}: {getattr(error, 'reason', error)}") from error
    except ValueError as error:
        raise TrainerError(f"--metrics {url}: no page of metrics: {error}") from error
    if not any(f"{family.name}_total" == _IMAGES for family in families):
        raise TrainerError(f"--metrics {url}: has no {_IMAGES}, expected the metrics of a digit-server")
    return [
        (sample.labels, int(sample.value))
        for family in families
        for sample in family.samples
        if sample.name == _IMAGES
    ]
