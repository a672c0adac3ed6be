"""Every manifest is valid for the last three Kubernetes minors and for each operator."""

import json
from functools import cache

import jsonschema
import kubernetes_validate
import pytest

from tests.unit.deploy.custom_resources import SCHEMAS
from tests.unit.deploy.manifests import Variant, variants

_MAJOR, _NEWEST = kubernetes_validate.latest_version().split(".")[:2]
MINORS = [f"{_MAJOR}.{int(_NEWEST) - back}" for back in range(3)]


@pytest.mark.parametrize("variant", variants(), ids=str)
def test_every_combination_builds_and_is_valid(variant: Variant) -> None:
    for resource in variant.resources:
        if schema := SCHEMAS.get((resource["apiVersion"], resource["kind"])):
            jsonschema.validate(resource, schema)
        else:
            validate(json.dumps(resource))


@cache  # most resources are the same in most variants
def validate(resource: str) -> None:
    for minor in MINORS:
        kubernetes_validate.validate(json.loads(resource), minor, strict=True)
