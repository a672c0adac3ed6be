"""Every manifest is what the API server of the last three Kubernetes minors, and each operator, accepts."""

import json
from functools import cache

import jsonschema
import kubernetes_validate
import pytest

from tests.unit.deploy.custom_resources import SCHEMAS
from tests.unit.deploy.manifests import Variant

_MAJOR, _NEWEST = kubernetes_validate.latest_version().split(".")[:2]
MINORS = [f"{_MAJOR}.{int(_NEWEST) - back}" for back in range(3)]


@pytest.mark.parametrize("minor", MINORS)
def test_every_resource_is_valid_by_the_schemas_of_kubernetes(variant: Variant, minor: str) -> None:
    for resource in variant.resources:
        if (resource["apiVersion"], resource["kind"]) not in SCHEMAS:
            validate(json.dumps(resource), minor)


@cache  # most resources are the same in most variants
def validate(resource: str, minor: str) -> None:
    kubernetes_validate.validate(json.loads(resource), minor, strict=True)


def test_every_custom_resource_is_valid_by_its_operators_schema(variant: Variant) -> None:
    for resource in variant.resources:
        if schema := SCHEMAS.get((resource["apiVersion"], resource["kind"])):
            jsonschema.validate(resource, schema)
