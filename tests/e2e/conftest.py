"""The version that --base-url names."""

import pytest

from tests.servers.base import Site


@pytest.fixture(scope="session")
def site(pytestconfig: pytest.Config) -> Site:
    """The app at the address that is to be tested."""
    url = pytestconfig.getoption("--base-url")
    if not url:
        pytest.skip("needs the --base-url of a deployed version")
    site = Site()
    site.url = url
    return site
