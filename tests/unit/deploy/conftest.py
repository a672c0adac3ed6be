import pytest

from tests.unit.deploy.manifests import Variant, checked


@pytest.fixture(params=checked(), ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    """The base, an overlay, or the base with all components; test_schemas.py builds every combination."""
    found: Variant = request.param
    return found
