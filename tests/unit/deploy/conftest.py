import pytest

from tests.unit.deploy.manifests import Variant, variants


@pytest.fixture(params=variants(), ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    """The base with every set of components, each overlay with none, one and all."""
    found: Variant = request.param
    return found
