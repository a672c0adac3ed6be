import pytest

from tests.unit.deploy.manifests import Variant, variants


@pytest.fixture(params=variants(), ids=str)
def variant(request: pytest.FixtureRequest) -> Variant:
    """Every overlay with every set of components."""
    found: Variant = request.param
    return found
