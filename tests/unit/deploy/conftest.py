import pytest

from tests.unit.deploy.manifests import Variant, variants


@pytest.fixture(params=variants(), ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    """The base with every pair of components, overlays with each, all with all."""
    found: Variant = request.param
    return found
