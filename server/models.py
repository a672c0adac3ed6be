"""The models that the server knows, and which version of each answers."""

import asyncio
from collections.abc import Callable, Iterable

import structlog

from protos.digits.v1 import prediction_pb2 as pb
from server.batcher import Batcher
from server.errors import NotFoundError, UnavailableError
from server.metrics import Metrics
from server.roster import Roster, Serving

# The golden ratio's fraction: steps of it spread evenly over 0-1, without a period to fall in step with.
EVEN_STEP = 0.6180339887498949

log = structlog.get_logger()


class Models:
    """One roster a model. What changes is swapped by reference: a call goes on with what it found."""

    def __init__(self, default: str, metrics: Metrics, changed: Callable[[], None]) -> None:
        self._default = default
        self._metrics = metrics
        self._changed = changed
        self._rosters: dict[str, Roster] = {}
        self._position = 0.0
        self._open = False
        self.refusing = asyncio.Event()

    def announce(self, names: Iterable[str]) -> None:
        """Know of models that do not serve yet."""
        for name in names:
            self._rosters.setdefault(name, Roster(name))
        self._changed()

    def replace(self, roster: Roster) -> None:
        """Let `roster` answer its model's requests from now on."""
        before = self._rosters.get(roster.name)
        self._rosters[roster.name] = roster
        self._metrics.watch([serving.batcher for serving in self._servings()])
        self._metrics.serving({serving.info for serving in self._servings()})
        self._metrics.labelled(
            {
                (each.name, name, str(label.version)): label.share
                for each in self._rosters.values()
                for name, label in each.labels.items()
            }
        )
        if before is None or (list(before.versions), before.labels) != (list(roster.versions), roster.labels):
            labels = {name: label.version for name, label in roster.labels.items()}
            log.info("versions serve", model=roster.name, versions=list(roster.versions), labels=labels)
        self._changed()

    def look(self) -> None:
        """See which versions' batchers run: one that died of a defect of ours serves no more."""
        self._changed()

    def open(self) -> None:
        """Answer calls from now on."""
        self._open = True
        self._changed()

    def hold(self) -> None:
        """Let calls wait, as in a queue that is long, until `refuse`."""
        for serving in self._servings():
            serving.batcher.hold()

    def refuse(self) -> None:
        """Answer UNAVAILABLE to new calls from now on; those in flight go on, and those that were held."""
        self.refusing.set()
        for serving in self._servings():
            serving.batcher.release()

    async def close(self) -> None:
        """Finish every queue and let go of the models."""
        for serving in self._servings():
            await serving.batcher.close()
        self._rosters.clear()

    @property
    def states(self) -> dict[str, bool]:
        """Whether each model that was ever seen serves, by name."""
        return {name: self._open and self.serves(name) for name in self._rosters}

    @property
    def ready(self) -> bool:
        """Whether a call that names no model gets an answer."""
        return self._open and self.serves(self._default)

    @property
    def inflight_images(self) -> int:
        """How many images are accepted and not answered yet."""
        return sum(serving.batcher.inflight_images for serving in self._servings())

    @property
    def queues(self) -> dict[str, Batcher]:
        """The queue of every version that serves, by model/version."""
        return {f"{each.model.name}/{each.model.version}": each.batcher for each in self._servings()}

    @property
    def alive(self) -> bool:
        """Whether the batcher of every version that serves runs."""
        return all(serving.batcher.alive for serving in self._servings())

    def serves(self, name: str, version: int = 0) -> bool:
        """Tell whether a version of a model, or any, serves."""
        versions = self._rosters[name].versions if name in self._rosters else {}
        return any(
            serving.batcher.alive for number, serving in versions.items() if not version or number == version
        )

    def find(self, name: str, version: int = 0, label: str = "") -> Serving:
        """Return what answers one request; empty or 0 leaves the choice to the server.

        Ask for each request, and do not wait between asking and queueing: a version that was swapped out
        finishes what is in its queue, and is gone.

        Raises:
            UnavailableError: no model is loaded yet, or the server is stopping.
            NotFoundError: no such model, version or label.
            InvalidRequestError: both version and label are given.

        """
        roster = self.roster(name)
        if version or label:
            return roster.named(version, label)
        self._position = (self._position + EVEN_STEP) % 1
        return roster.choose(self._position)

    def roster(self, name: str) -> Roster:
        """Return the versions of a model; an empty name is the default model's.

        Raises:
            UnavailableError: no model is loaded yet, or the server is stopping.
            NotFoundError: no such model.

        """
        if not self._open or self.refusing.is_set():
            raise UnavailableError(f"the server is {'stopping' if self.refusing.is_set() else 'starting'}")
        roster = self._rosters.get(name or self._default)
        if roster is None:
            raise NotFoundError(f"no model {name!r}, there is {', '.join(self._rosters)}")
        return roster

    def describe(self) -> list[pb.Model]:
        """Return every version of every model: those that serve, then the rest."""
        return [message for roster in self._rosters.values() for message in roster.describe()]

    def _servings(self) -> list[Serving]:
        return [serving for roster in self._rosters.values() for serving in roster.versions.values()]
