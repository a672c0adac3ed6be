"""The options that every command which asks a model has."""

from dataclasses import dataclass
from typing import Annotated

from cyclopts import Parameter, validators

from clients.wire import Question


@Parameter(name="*")
@dataclass(frozen=True, kw_only=True)
class ModelOptions:
    """Hold which model is asked."""

    model: str = ""
    """Ask this model; by default the server chooses."""
    model_version: Annotated[int, Parameter(validator=validators.Number(gte=0))] = 0
    """Ask this version of it; 0 leaves that to the server."""
    label: str = ""
    """Ask the version that this label points at, such as stable or canary."""

    def question(self, *, probabilities: bool = False) -> Question:
        """Build the question that these options ask."""
        return Question(
            probabilities=probabilities, model=self.model, version=self.model_version, label=self.label
        )
