"""The gate of shadow traffic: how often a version gave the stable version's digit on a server's traffic."""

from pathlib import Path

from clients.errors import InputError
from clients.shadow import read_shadows
from trainer.errors import GateRefused, TrainerError
from trainer.repository.publish import STABLE
from trainer.repository.versions import labels


def require_agreement(folder: Path, version: int, agreement: float, images: int, url: str) -> str:
    """Return, in words, on how many images a version agreed with the stable one, by the metrics at `url`.

    Raises GateRefused when it did on less than the share `agreement` of them, or when they are fewer than
    `images`; TrainerError when the metrics cannot be read.
    """
    stable = labels(folder).get(STABLE)
    if stable is None:
        raise GateRefused(f"{folder}: no version is labelled {STABLE}, so there is no agreement with it")
    pair = folder.name, str(stable), str(version)
    try:
        found = [
            each for each in read_shadows(url) if (each.model, each.version, each.shadow_version) == pair
        ]
    except InputError as error:
        raise TrainerError(str(error)) from error
    compared, agreed = sum(each.images for each in found), sum(each.agreed for each in found)
    if compared < images:
        raise GateRefused(
            f"version {version} of {folder.name} was compared with version {stable} on {compared:,} images, "
            f"expected at least {images:,}"
        )
    words = f"{agreed:,} of {compared:,} images get the digit of version {stable} ({agreed / compared:.3%})"
    if agreed / compared < agreement:
        raise GateRefused(f"version {version} of {folder.name}: {words}, expected at least {agreement:.3%}")
    return words
