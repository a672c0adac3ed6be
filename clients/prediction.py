"""What a server says about an image, and about a model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timing:
    """Where the time of the call that carried an image went.

    `queue_seconds` and `compute_seconds` are the server's own; `call_seconds` is what the caller
    waited, network included. `batch_images` images shared the model run.
    """

    queue_seconds: float
    compute_seconds: float
    call_seconds: float
    batch_images: int


@dataclass(frozen=True, slots=True)
class Prediction:
    """Hold the answer for one image.

    `confidence` is the probability of `digit`, 0-1; `probabilities` are those of all ten digits
    where they were asked for, else None.
    """

    digit: int
    confidence: float
    probabilities: tuple[float, ...] | None
    model: str
    version: int
    timing: Timing


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """Describe one version of a model as the server sees it.

    `state` is `serving`, `refused` (`reason` says why) or `available`; `accuracy` is on data held
    out from training, 0-1; `created` is RFC 3339; `labels` point at it; `share` (0-1) of the requests
    that name neither version nor label go to it.
    """

    name: str
    version: int
    state: str
    reason: str
    sha256: str
    accuracy: float
    provider: str
    recipe: str
    created: str
    labels: tuple[str, ...]
    share: float
