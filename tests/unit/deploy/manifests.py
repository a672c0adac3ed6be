"""The output of kustomize for deploy/: the base with pairs of components, overlays with each, and all."""

import itertools
import os
import shutil
import subprocess
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parents[3]
DEPLOY = ROOT / "deploy"
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
COMPONENTS = sorted(folder.name for folder in (DEPLOY / "components").iterdir())
OVERLAYS = sorted(folder.name for folder in (DEPLOY / "overlays").iterdir())
# Components that need others.
NEEDS = {
    "training": {"model-repository"},
    "training-kubeflow": {"model-repository", "training"},
    "training-seeds": {"model-repository", "training"},
}
# A component that replaces another.
INSTEAD = {"model-repository-s3": "model-repository"}

Resource = dict[str, Any]


@dataclass(frozen=True)
class Variant:
    """The base or an overlay, and components on top of it."""

    root: Path
    components: tuple[str, ...]

    def __str__(self) -> str:
        return "+".join((self.root.name, *self.components))

    @property
    def resources(self) -> list[Resource]:
        return _build(self)

    def of_kind(self, *kinds: str) -> list[Resource]:
        return [resource for resource in self.resources if resource["kind"] in kinds]

    def only(self, kind: str, name: str = "") -> Resource:
        """The one resource of a kind, or of those with this name."""
        (found,) = [each for each in self.of_kind(kind) if name in ("", each["metadata"]["name"])]
        return found

    def deployment(self) -> Resource:
        """The server's."""
        return self.only("Deployment", "digits")

    def servers(self) -> list[tuple[Resource, Resource]]:
        """The pod template of every server, and its container `server`."""
        pods = [each["spec"]["template"] for each in self.of_kind("Deployment")]
        return [
            (pod, next(each for each in pod["spec"]["containers"] if each["name"] == "server"))
            for pod in pods
        ]

    def settings(self) -> dict[str, str]:
        """The ConfigMap that the server takes its environment from."""
        (configmap,) = [each for each in self.of_kind("ConfigMap") if "DIGITS_DRAIN_SECONDS" in each["data"]]
        data: dict[str, str] = configmap["data"]
        return data

    def pods(self) -> Iterator[tuple[str, Resource]]:
        """Every pod template: the kind that holds it, metadata and spec."""
        for resource in self.of_kind("Deployment", "Job", "CronJob"):
            spec = resource["spec"]
            spec = spec["jobTemplate"]["spec"] if resource["kind"] == "CronJob" else spec
            yield resource["kind"], spec["template"]
        for resource in self.of_kind("TrainingRuntime"):
            for job in resource["spec"]["template"]["spec"]["replicatedJobs"]:
                yield "Job", job["template"]["spec"]["template"]


KSERVE = Variant(DEPLOY / "kserve", ())


def variants() -> list[Variant]:
    """List all variants that a user may build."""
    roots = [DEPLOY / "base", *(DEPLOY / "overlays" / name for name in OVERLAYS)]
    found = []
    for root in roots:
        taken = {Path(each).name for each in _kustomization(root).get("components", [])}
        free = [name for name in COMPONENTS if name not in taken]
        # Two components that do not go together show in a pair; three add nothing but time.
        sizes = range(2 if root.parent.name == "overlays" else 3)
        choices = [chosen for size in sizes for chosen in itertools.combinations(free, size)]
        for chosen in [*choices, tuple(name for name in free if name not in INSTEAD)]:
            present = taken | set(chosen)
            if all(NEEDS.get(name, set()) <= present and INSTEAD.get(name) not in present for name in chosen):
                found.append(Variant(root, tuple(sorted(chosen, key=_place))))
    return found


def checked() -> list[Variant]:
    """List the variants that stand for the others: the base, the overlays, and all components at once."""
    found = [variant for variant in variants() if not variant.components]
    for instead in (set(), set(INSTEAD)):
        left_out = {INSTEAD[name] for name in instead} | (set(INSTEAD) - instead)
        chosen = [
            name for name in COMPONENTS if name not in left_out and not NEEDS.get(name, set()) & left_out
        ]
        found.append(Variant(DEPLOY / "base", tuple(sorted(chosen, key=_place))))
    return found


def _place(component: str) -> tuple[bool, int]:
    """Kustomize applies components in order: what others need comes first, what copies a Deployment last."""
    return component == "canary", len(NEEDS.get(component, ()))


def _kustomization(root: Path) -> Resource:
    content: Resource = yaml.safe_load((root / "kustomization.yaml").read_text())
    return content


@cache
def _build(variant: Variant) -> list[Resource]:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("NOT RUN: kubectl is not on this machine; it builds the manifests that this test reads")
    with TemporaryDirectory() as folder:
        # kustomize takes folders only by relative path.
        kustomization = {
            "apiVersion": "kustomize.config.k8s.io/v1beta1",
            "kind": "Kustomization",
            # What components add lands beside the rest only where the namespace is named again.
            **{key: value for key, value in _kustomization(variant.root).items() if key == "namespace"},
            "resources": [os.path.relpath(variant.root, Path(folder).resolve())],
            "components": [
                os.path.relpath(DEPLOY / "components" / name, Path(folder).resolve())
                for name in variant.components
            ],
        }
        (Path(folder) / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
        built = subprocess.run([kubectl, "kustomize", folder], check=False, capture_output=True, text=True)
    assert built.returncode == 0, f"{variant}: {built.stderr}"
    return list(yaml.load_all(built.stdout, yaml.CSafeLoader))
