"""The shadow gate: agreement of a version with the stable one on a server's traffic."""

from pathlib import Path

from clients.errors import InputError
from clients.shadow import read_shadows
from trainer.errors import GateRefused, TrainerError
from trainer.repository.publish import STABLE
from trainer.repository.versions import labels


def require_agreement(folder: Path, version: int, agreement: float, images: int, url: str) -> str:
    """Check a version's agreement with the stable one in the metrics at `url`; return it as text.

    Raises GateRefused if the agreement is below `agreement` (0-1) or the images are fewer than `images`;
    TrainerError if the metrics cannot be read.
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
