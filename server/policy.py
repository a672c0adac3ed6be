"""Version policies: which of a model's versions an operator wants to serve."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

_POLICY = re.compile(
    r"(?:(?P<model>[^=]+)=)?(?:latest:(?P<latest>[1-9][0-9]*)|(?P<all>all)|specific:(?P<specific>[1-9][0-9]*(?:,[1-9][0-9]*)*))",
    re.ASCII,
)


@dataclass(frozen=True, slots=True)
class Policy:
    """The newest `latest` versions (None: all of them), or `specific` ones and no others."""

    latest: int | None = 1
    specific: frozenset[int] = frozenset()

    def allows(self, version: int) -> bool:
        """Tell whether a label may ask for `version`: always, unless only specific ones are wanted."""
        return not self.specific or version in self.specific

    def choose(self, versions: Sequence[int]) -> list[int]:
        """Return those of `versions`, newest first, that are wanted."""
        if self.specific:
            return [version for version in versions if version in self.specific]
        return list(versions[: self.latest])

    def __str__(self) -> str:
        if self.specific:
            return f"specific:{','.join(map(str, sorted(self.specific)))}"
        return "all" if self.latest is None else f"latest:{self.latest}"


@dataclass(frozen=True, slots=True)
class Policies:
    """One policy for each model that has its own, and one for the others."""

    default: Policy
    models: dict[str, Policy]

    @classmethod
    def parse(cls, texts: Iterable[str]) -> "Policies":
        """Read policies, each `[MODEL=]latest:N`, `[MODEL=]all` or `[MODEL=]specific:V,V`.

        Raises:
            ValueError: one is neither, or a model has two.

        """
        policies: dict[str, Policy] = {}
        for text in texts:
            found = _POLICY.fullmatch(text)
            if found is None:
                raise ValueError(
                    f"{text!r} is no version policy, expected latest:N, all or specific:V,V, "
                    "for one model with MODEL= before it"
                )
            model = found["model"] or ""
            if model in policies:
                raise ValueError(f"{text!r} is the second version policy of {model or 'all models'}")
            if found["specific"]:
                policies[model] = Policy(specific=frozenset(map(int, found["specific"].split(","))))
            else:
                policies[model] = Policy(latest=None if found["all"] else int(found["latest"]))
        return cls(policies.pop("", Policy()), policies)

    def of(self, model: str) -> Policy:
        """Return the policy of a model."""
        return self.models.get(model, self.default)
